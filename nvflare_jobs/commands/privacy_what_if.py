"""``fedefm privacy what-if``: would this run file still fit at this site?"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fedefm.config import RunConfig, read_run
from fedefm.errors import ConfigError, PolicyRefused
from fedefm.topology.schedules import PeriodicSchedule, Schedule
from fedefm.train.assemble import find_manifest
from fedefm.train.effort import Effort, efforts
from fedefm.train.workshop import plan_of
from fedefm.words import several
from nvflare_jobs.commands.privacy_site import AsJson, Site, site_of
from nvflare_jobs.protect import dp_of, units_of
from nvflare_jobs.shared_noise import honest_shares
from privacy.accountant import ACCOUNTANT
from privacy.mechanism import Spend, together
from privacy.policy import Promise, promise
from privacy.report.meaning import ADJACENCY
from privacy.report.numbers import below, epsilon, exact
from privacy.what_if import Answer, Planned, Way, answer

_HERE = "this site"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("what-if", help=what_if.__doc__)(what_if)


def what_if(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The settings of the run.")],
    site_file: Annotated[
        Path, typer.Option("--site", metavar="SITE.yaml", help="The site's file.")
    ],
    partners: Annotated[
        int | None,
        typer.Option(help="How many neighbors' models it trains in a round that hosts.", min=0),
    ] = None,
    sites: Annotated[
        Path | None,
        typer.Option(help="Instead: a folder with one folder a site, this one's among them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a site can still afford a run, what each part would cost, and else what fits.

    Writes nothing. Exit code 0 if it fits, 1 if it does not, 2 if the site's policy refuses it.

    Example: fedefm privacy what-if run.yaml --site local/fedefm_site.yaml --partners 1
    """
    run, site = read_run(run_file), site_of(site_file)
    if run.privacy.dp is None:
        raise PolicyRefused(
            f"run file {run_file} has no privacy.dp, so no epsilon can be counted for it, and a "
            "site with a cap refuses it"
        )
    pledge = promise(site.settings, run, site.name(), _units(site, run))
    planned = _efforts(run, site_file, partners, sites)
    found = answer(_planned(run, planned), pledge, _counted(site, pledge))
    if as_json:
        print(json.dumps(_as_json(found, pledge, len(planned)), ensure_ascii=False))
    else:
        print("\n".join(_told(found, pledge, planned)))
    raise typer.Exit(0 if found.fits else 1)


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
    return efforts(run, plan.schedule, name)


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


def _told(found: Answer, pledge: Promise, efforts: Sequence[Effort]) -> list[str]:
    mechanism, costs, unit = found.mechanism, found.costs, pledge.dataset.unit
    hosted = sum(one.hosted for one in efforts)
    return [
        f"{_verdict(found)} (dataset {pledge.dataset.name}, per {unit}, delta "
        f"{exact(pledge.budget.delta)}, {ADJACENCY[pledge.budget.adjacency]} {unit}, {ACCOUNTANT})",
        f"  steps at this site    {found.steps} in {several(len(efforts), 'round')}, {hosted} of "
        "them for "
        "hosted neighbors",
        f"  a step                noise multiplier {mechanism.noise_multiplier:g}, sampling rate "
        f"{mechanism.sampling_rate:.4g} of {several(mechanism.dataset_size, unit)}, at most "
        f"{mechanism.batch_cap} drawn",
        *_shared(found),
        f"  one step alone        {epsilon(costs.step)}",
        f"  the fullest round     {epsilon(costs.round)}",
        f"  one more neighbor     {epsilon(costs.guest)} on top of the run",
        f"  the run alone         {epsilon(costs.run)}",
        f"  spent and reserved    {epsilon(found.before)}",
        f"  with this run         {epsilon(costs.total)}{_limit(found)}",
        *_ways(found),
    ]


def _shared(found: Answer) -> list[str]:
    if found.mechanism.shares == 1:
        return []
    return [
        f"  its noise             made by at least {found.mechanism.shares} honest sites together; "
        "the epsilons rest on them"
    ]


def _verdict(found: Answer) -> str:
    return "it fits" if found.fits else "it does not fit"


def _limit(found: Answer) -> str:
    if found.cap is None or found.left is None:
        return ", no cap"
    if found.fits:
        return f" of {exact(found.cap)}, leaves {below(found.left)}"
    return f", above the cap of {exact(found.cap)}"


def _ways(found: Answer) -> list[str]:
    if found.fits:
        return []
    if not found.ways:
        return ["nothing would fit: the budget is used up, or a single round would exceed it"]
    return ["what would fit:", *(f"  {_way(way)}" for way in found.ways)]


def _way(way: Way) -> str:
    settings = ", ".join(
        f"{name}: {'null' if value is None else format(value, '.10g')}"
        for name, value in way.settings.items()
    )
    return f"{way.what}: {settings} (the run {epsilon(way.run)}, with it {epsilon(way.total)})"


def _as_json(found: Answer, pledge: Promise, rounds: int) -> dict[str, Any]:
    return {
        "fits": found.fits,
        "dataset": pledge.dataset.name,
        "unit": pledge.dataset.unit,
        "delta": pledge.budget.delta,
        "adjacency": pledge.budget.adjacency,
        "accountant": ACCOUNTANT,
        "mechanism": found.mechanism.to_json(),
        "steps": found.steps,
        "rounds": rounds,
        "costs": asdict(found.costs),
        "before": found.before,
        "cap": found.cap,
        "left": found.left,
        "ways": [asdict(way) for way in found.ways],
    }
