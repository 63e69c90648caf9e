"""Who takes part in a project, and how long their certificates last."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedefm.errors import ProvisionError, all_problems
from fedefm.words import several
from provisioning.names import (
    HOST,
    LONGEST,
    PROJECT,
    Hospital,
    free_name,
    person_problems,
    proposal,
    site_problems,
)
from provisioning.names import hospital as named
from provisioning.rights import ADMIN, LEAD, OFFICER

PORT, DAYS, ROOT_DAYS = 8002, 365, 3650
LONGEST_DAYS = 36_500
HUB = "hub"  # the organization that owns the server and names the people


@dataclass(frozen=True)
class Person:
    """Somebody with a kit of their own; ``role`` is FLARE's."""

    name: str
    role: str


@dataclass(frozen=True)
class Project:
    """All that a project file is made from.

    ``days`` is how long each kit's certificate lasts, ``root_days`` the project's root, which
    signs them. No certificate outlives the root.
    """

    name: str
    server: str
    port: int
    sites: tuple[Hospital, ...]
    people: tuple[Person, ...]
    days: int = DAYS
    root_days: int = ROOT_DAYS


def project(
    name: str,
    server: str,
    port: int,
    sites: Sequence[str],
    leads: Sequence[str],
    officers: Sequence[str],
    admins: Sequence[str],
    days: int = DAYS,
    root_days: int = ROOT_DAYS,
) -> Project:
    """A project in the words of who asks for it. Raises ProvisionError with every mistake."""
    people = [
        *(Person(each.strip(), LEAD) for each in leads),
        *(Person(each.strip(), OFFICER) for each in officers),
        *(Person(each.strip(), ADMIN) for each in admins),
    ]
    wanted = Project(
        name.strip(),
        server.strip(),
        port,
        tuple(named(site) for site in sites),
        tuple(people),
        days,
        root_days,
    )
    if problems := list(problems_of(wanted)):
        raise ProvisionError(all_problems("the project", problems))
    return wanted


def problems_of(wanted: Project) -> Iterator[str]:
    """Every mistake, as sentences."""
    yield from _of_name(wanted.name)
    yield from _of_server(wanted)
    yield from _of_sites(wanted)
    yield from _of_people(wanted.people)
    yield from _of_days(wanted)


def _of_name(name: str) -> Iterator[str]:
    if not name:
        yield "it has no name; give it one, such as --name heart-vessels"
    elif not PROJECT.fullmatch(name) or len(name) > LONGEST:
        yield (
            f"its name {name!r} becomes a folder, so it has letters, digits, - and _, at most "
            f"{LONGEST}; call it {proposal(name) or 'project'!r}"
        )


def _of_server(wanted: Project) -> Iterator[str]:
    if not wanted.server:
        yield "it has no server; name the host that all can reach, such as --server hub.uni.org"
    elif not HOST.fullmatch(wanted.server) or len(wanted.server) > LONGEST:
        yield (
            f"its server {wanted.server!r} is no host name; give the name that hospitals reach it "
            "by, without http:// and port, such as hub.uni.org"
        )
    if not 1 <= wanted.port <= 65_535:
        yield (
            f"port {wanted.port} does not exist; choose one from 1 to 65535, such as {PORT} (below "
            "1024, the server's account needs the right to open it)"
        )


def _of_sites(wanted: Project) -> Iterator[str]:
    if not wanted.sites:
        yield "it has no sites; name each hospital with --site"
    for site in wanted.sites:
        yield from site_problems(site)
    yield from _of_same_names(wanted.sites)
    if wanted.server.casefold() in {site.name.casefold() for site in wanted.sites}:
        yield f"site {wanted.server!r} has the server's name; give it another"


def _of_same_names(sites: Sequence[Hospital]) -> Iterator[str]:
    counted = Counter(site.name.casefold() for site in sites if site.name)
    for name in sorted(name for name, times in counted.items() if times > 1):
        first, second, *_ = same = [site for site in sites if site.name.casefold() == name]
        free = free_name(second.name, counted)
        yield (
            f"sites {' and '.join(repr(site.written) for site in same)} would all be "
            f"{first.name!r}; name one yourself, as in {second.written + '=' + free!r}"
        )


def _of_people(people: Sequence[Person]) -> Iterator[str]:
    for person in people:
        yield from person_problems(person.name)
    for name, times in Counter(person.name.casefold() for person in people).items():
        if times > 1:
            yield f"person {name!r} is named {times} times; one certificate has one role"
    roles = {person.role for person in people}
    if LEAD not in roles:
        yield "nobody may submit jobs; name a data scientist with --lead"
    if ADMIN not in roles:
        yield "nobody may look after the server; name somebody of the hub's IT with --admin"


def _of_days(wanted: Project) -> Iterator[str]:
    for what, days in (("certificates", wanted.days), ("the root", wanted.root_days)):
        if not 1 <= days <= LONGEST_DAYS:
            yield f"{what} cannot last {several(days, 'day')}; choose from 1 to {LONGEST_DAYS}"
    if wanted.days > wanted.root_days:
        yield (
            f"certificates of {several(wanted.days, 'day')} would outlive the root of "
            f"{wanted.root_days}; "
            "choose --root-days larger, since a new root means new kits for all"
        )
