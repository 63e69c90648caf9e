"""What ``fedefm privacy what-if`` asks: a site's steps in a planned run, on what it has spent."""

from collections.abc import Sequence
from pathlib import Path

from fedefm.config import RunConfig
from fedefm.errors import ConfigError
from fedefm.topology.schedules import PeriodicSchedule, Schedule
from fedefm.train.assemble import find_manifest
from fedefm.train.effort import Effort, efforts
from fedefm.train.workshop import plan_of
from nvflare_jobs.commands.privacy_site import Site
from nvflare_jobs.protect import dp_of, units_of
from nvflare_jobs.shared_noise import honest_shares
from privacy.mechanism import Spend, together
from privacy.policy import Promise, promise
from privacy.what_if import Answer, Planned, answer

_HERE = "this site"


def planned_for(
    run: RunConfig, site: Site, partners: int | None, sites: Path | None
) -> tuple[Promise, tuple[Effort, ...], Answer]:
    """What the site promises, its steps of each round, and whether they fit.

    Raises PolicyRefused where its policy refuses the run, ConfigError where nothing says how many
    models it hosts.
    """
    pledge = promise(site.settings, run, site.name(), _units(site, run))
    planned = _efforts(run, site.file, partners, sites)
    return pledge, planned, answer(_planned(run, planned), pledge, _counted(site, pledge))


def _units(site: Site, run: RunConfig) -> int:
    """How many patients (or images) there are: as published, where the manifest is elsewhere."""
    entry, dp = site.settings.datasets.get(run.dataset), dp_of(run)
    if entry is not None and not (site.file.parent / entry.manifest).is_file():
        published = entry.patients if dp.unit == "patient" else None
        if published is not None:
            return published
    return units_of(find_manifest(site.file, run.dataset), dp)


def _efforts(
    run: RunConfig, site_file: Path, partners: int | None, sites: Path | None
) -> tuple[Effort, ...]:
    """The planned steps of each round, hosting as many as the graph or ``partners`` says."""
    if partners is not None and sites is not None:
        raise ConfigError("--partners and --sites both say who hosts whom; give one of them")
    if sites is None:
        return efforts(run, _star(_hosted(run) if partners is None else partners), _HERE)
    plan, name = plan_of(run, sites), site_file.absolute().parent.name
    if name not in plan.sites:
        raise ConfigError(
            f"site file {site_file} lies in a folder {name!r}, and {sites} has the sites "
            f"{', '.join(plan.sites)}; name a site file of one of them, or use --partners"
        )
    return efforts(run, plan.schedule, name, asked=plan.asked)


def _hosted(run: RunConfig) -> int:
    """How many models a site hosts at a time, where the run file alone says it."""
    federation = run.federation
    if federation.algorithm == "fedefm" and federation.update != "swap":
        raise ConfigError(
            f"with federation.update {federation.update!r} a site trains the models of all its "
            "neighbors; say how many with --partners, or show the sites with --sites FOLDER"
        )
    return 1


def _star(neighbors: int) -> Schedule:
    """This site with so many neighbors, the same in every round."""
    names = tuple(f"neighbor {place}" for place in range(neighbors))
    return PeriodicSchedule([{_HERE: names, **dict.fromkeys(names, (_HERE,))}])


def _planned(run: RunConfig, efforts: Sequence[Effort]) -> Planned:
    hosting = sum(one.guests > 0 for one in efforts)
    steps = [one.steps for one in efforts]
    hosted = hosting * run.federation.host_steps
    return Planned(dp_of(run), steps, hosted, honest_shares(run))


def _counted(site: Site, pledge: Promise) -> Spend:
    """All that is spent and reserved on the dataset."""
    if not site.exists:
        return {}
    with site.read() as ledger:
        return together(ledger.spent(pledge.dataset), ledger.reserved(pledge.dataset))
