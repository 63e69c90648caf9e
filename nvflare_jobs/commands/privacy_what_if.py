"""``fedefm privacy what-if``: would this run file still fit at this site?"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fedefm.config import read_run
from fedefm.errors import PolicyRefused
from fedefm.train.effort import Effort
from fedefm.words import several
from nvflare_jobs.commands.privacy_site import AsJson, site_of
from privacy.accountant import ACCOUNTANT
from privacy.policy import Promise
from privacy.report.meaning import ADJACENCY
from privacy.report.numbers import below, epsilon, exact
from privacy.what_if import Answer, Way


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
    from nvflare_jobs.commands.privacy_planned import planned_for  # torch loads slowly

    pledge, planned, found = planned_for(run, site, partners, sites)
    if as_json:
        print(json.dumps(_as_json(found, pledge, len(planned)), ensure_ascii=False))
    else:
        print("\n".join(_told(found, pledge, planned)))
    raise typer.Exit(0 if found.fits else 1)


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
