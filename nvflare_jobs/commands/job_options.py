"""What the commands on jobs have in common: kit, job, and a server to ask."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedefm.config import RunConfig
from fedefm.errors import ConfigError
from fedefm.topology.graphs import NAMED, sites_in
from nvflare_jobs.admin.person_kit import KIT_VARIABLE, PersonKit, read_person_kit
from provisioning.names import hospital, proposal, site_problems

if TYPE_CHECKING:
    from nvflare_jobs.admin.server import FlareServer

Kit = Annotated[
    Path | None,
    typer.Option(
        envvar=KIT_VARIABLE,
        help="Your own kit: the folder with startup/ in it, as made for a person.",
        show_default=False,
    ),
]
Sites = Annotated[
    str,
    typer.Option(
        help="The sites with commas, by FLARE's names or their own; a topology file names them."
    ),
]
Job = Annotated[str, typer.Argument(metavar="JOB", help="FLARE's id of the job.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for scripts.")]


def site_names(sites: str, run: RunConfig) -> list[str]:
    """The sites of a job. Raises ConfigError where nothing names them."""
    written = [name.strip() for name in sites.split(",") if name.strip()]
    if written:
        return [flare_name(name) for name in written]
    if run.federation.topology in NAMED:
        raise ConfigError(
            f"topology {run.federation.topology!r} does not say which sites take part; "
            "name them with --sites hosp-a,hosp-b"
        )
    return sites_in(run.federation.topology)


def flare_name(written: str) -> str:
    """A site as FLARE knows it, out of its name there or as people write it.

    A name that changes on the way is told on standard error. Raises ConfigError for what is rather
    a path than a name.
    """
    if "/" in written or "\\" in written:
        raise ConfigError(
            f"--sites has {written!r}, which reads like a path; name the site as FLARE knows it, "
            f"as in {proposal(written) or 'hosp-a'!r}"
        )
    site = hospital(written)
    if problems := site_problems(site):
        raise ConfigError("; ".join(problems))
    if site.written != site.name:
        print(
            f"{site.written} is {site.name} in FLARE, which knows no other characters",
            file=sys.stderr,
        )
    return site.name


@contextmanager
def server_of(kit: Path | None, quiet: bool = False) -> Iterator["FlareServer"]:
    """The server that ``kit`` leads to, logged in to; that this takes a while is said first."""
    person = read_person_kit(kit)
    say_connecting(person, quiet)
    from nvflare_jobs.admin.server import logged_in  # FLARE loads slowly

    with logged_in(person) as server:
        yield server


def say_connecting(person: PersonKit, quiet: bool) -> None:
    """What is waited for now, to standard error unless ``quiet``."""
    if not quiet:
        print(f"connecting to {person.server} as {person.name} \u2026", file=sys.stderr, flush=True)
