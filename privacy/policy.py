"""A site's policy against a private run: what both can keep, or why the site refuses.

The two files are compared before any image is read, and the stricter wins. Where that is not
possible the site refuses, in sentences for the person who submitted the job. What the policy says
to runs without differential privacy stands in ``fedefm.train.assemble.check_promises``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fedefm.config import Adjacency, DatasetEntry, DpConfig, PolicyConfig, RunConfig, SiteConfig
from fedefm.errors import PolicyRefused, all_problems
from fedefm.words import several
from privacy.ledger import Budget, Dataset


@dataclass(frozen=True)
class Promise:
    """What a site promises each unit (patient or image) of a dataset in one run.

    ``units`` is how many there are, a public number. ``delta`` and ``adjacency`` are the stricter
    ones of the two files, and hold for the run; ``budget`` is the site's own, and holds for all
    runs together.
    """

    dataset: Dataset
    units: int
    delta: float
    adjacency: Adjacency
    budget: Budget


def promise(site: SiteConfig, run: RunConfig, name: str, counted: int) -> Promise:
    """What site ``name`` promises in ``run``; ``counted`` units were found in its manifest.

    Raises PolicyRefused with everything that stands against it.
    """
    found = list(_refusals(site, run, counted))
    if found:
        what = f"site {name!r} refuses this run"
        raise PolicyRefused(
            all_problems(what, [one.told for one in found]),
            all_problems(what, [one.for_others for one in found]),
        )
    dp, entry, policy = _dp(run), site.datasets[run.dataset], site.policy
    return Promise(
        dataset=Dataset(entry.budget or run.dataset, dp.unit),
        units=_public(entry, dp, counted),
        delta=min(dp.delta, policy.delta),
        adjacency=_stricter(dp.adjacency, policy.adjacency),
        budget=Budget(policy.epsilon_cap, policy.delta, policy.adjacency),
    )


def refusals(site: SiteConfig, run: RunConfig, counted: int) -> list[str]:
    """Why the site cannot take part in the private ``run``: sentences, none where it can.

    ``counted`` is the number of patients (or images, where these are the unit) that its manifest
    has for training.
    """
    return [one.told for one in _refusals(site, run, counted)]


@dataclass(frozen=True)
class _Refusal:
    """A sentence for the site, and the same for others where they may not read all of it."""

    told: str
    elsewhere: str = ""

    @property
    def for_others(self) -> str:
        return self.elsewhere or self.told


def _refusals(site: SiteConfig, run: RunConfig, counted: int) -> Iterator[_Refusal]:
    dp, entry = _dp(run), site.datasets[run.dataset]
    units = _public(entry, dp, counted)
    is_published = entry.patients is not None and dp.unit == "patient"
    yield from _of_ledger(site)
    yield from _of_units(entry, dp, run.dataset, counted)
    yield from _of_delta(site.policy, dp, units, is_published)
    yield from _of_epsilon(site.policy, dp)
    yield from _of_shared_noise(site.policy, run, dp, units, is_published)


def _of_ledger(site: SiteConfig) -> Iterator[_Refusal]:
    if site.ledger is None:
        yield _Refusal(
            "it keeps no epsilon ledger, and nothing is trained privately without one; name a "
            "file for it in the site file, such as `ledger: ledger.sqlite`"
        )


def _of_units(entry: DatasetEntry, dp: DpConfig, dataset: str, counted: int) -> Iterator[_Refusal]:
    if entry.unit != dp.unit:
        yield _Refusal(
            f"its dataset {dataset!r} is counted by the {entry.unit}, and privacy.dp.unit is "
            f"{dp.unit!r}; set it to {entry.unit!r}"
        )
    if counted < 1:
        yield _Refusal(f"its dataset {dataset!r} has no {dp.unit}s to train on")
    elif counted > _public(entry, dp, counted):
        yield _Refusal(
            f"its dataset {dataset!r} is said to be of {several(entry.patients or 0, 'patient')} "
            "and its manifest has more to train on; correct `patients` in the site file"
        )


def _of_delta(
    policy: PolicyConfig, dp: DpConfig, units: int, is_published: bool
) -> Iterator[_Refusal]:
    delta, largest = min(dp.delta, policy.delta), 1 / max(units, 1)
    where = "privacy.dp.delta" if dp.delta <= policy.delta else "policy.delta in the site file"
    counted, fewer = several(units, dp.unit), f"number of {dp.unit}s"
    if delta > largest:
        so = f"so that a {dp.unit} could be given away whole; set {where}"
        said = f"delta {delta:g} is above one over its"
        yield _Refusal(
            f"{said} {counted}, {so} to at most {rounded_down(largest)}",
            "" if is_published else f"{said} {fewer}, {so} smaller",
        )
    elif policy.epsilon_cap is not None and policy.delta > largest:
        said = f"its epsilon cap is counted at delta {policy.delta:g}, above one over its"
        fix = "set policy.delta in the site file"
        yield _Refusal(
            f"{said} {counted}; {fix} to at most {rounded_down(largest)}",
            "" if is_published else f"{said} {fewer}; {fix} smaller",
        )


def rounded_down(delta: float) -> str:
    """With two digits, and never above ``delta``, so that it can be taken as it is told."""
    unit = 10.0 ** (math.floor(math.log10(delta)) - 1)
    return f"{math.floor(delta / unit) * unit:.2g}"


def _of_epsilon(policy: PolicyConfig, dp: DpConfig) -> Iterator[_Refusal]:
    """Only where both epsilons mean the same; in all other cases the ledger compares."""
    comparable = dp.delta >= policy.delta and (
        _stricter(dp.adjacency, policy.adjacency) == policy.adjacency
    )
    cap = policy.epsilon_cap
    if cap is not None and dp.epsilon is not None and comparable and dp.epsilon > cap:
        asked = f"privacy.dp.epsilon {dp.epsilon:g} is above its cap"
        yield _Refusal(
            f"{asked} of {cap:g} for all runs together; ask for less than {cap:g}",
            ""
            if "budget" in policy.allowed_metrics
            else f"{asked} for all runs together; ask for less, or ask its privacy officer",
        )


def _of_shared_noise(
    policy: PolicyConfig, run: RunConfig, dp: DpConfig, units: int, is_published: bool
) -> Iterator[_Refusal]:
    """Only where the run's noise is made by many sites together: ``secagg.noise_shares``."""
    shares = run.privacy.secagg and run.privacy.secagg.noise_shares
    if not shares:
        return
    if not policy.noise_shares:
        yield _Refusal(
            "its patients' protection would rest on noise of other sites, of which "
            f"{shares.honest - 1} must be honest, and its policy does not allow that; leave out "
            "privacy.secagg.noise_shares, or let the site set policy.noise_shares to true"
        )
    if units < dp.patients_per_step:
        expected = several(dp.patients_per_step, dp.unit)
        said = f"a step expects {expected} of each site that shares its noise, and it has"
        fix = "set privacy.dp.patients_per_step"
        yield _Refusal(
            f"{said} {units}; {fix} to at most {units}",
            "" if is_published else f"{said} fewer; {fix} smaller",
        )


def _public(entry: DatasetEntry, dp: DpConfig, counted: int) -> int:
    """How many units the site says it has: as published, else as counted."""
    return entry.patients if entry.patients is not None and dp.unit == "patient" else counted


def _stricter(one: Adjacency, other: Adjacency) -> Adjacency:
    return "replace_one" if "replace_one" in (one, other) else "add_or_remove_one"


def _dp(run: RunConfig) -> DpConfig:
    if run.privacy.dp is None:
        raise PolicyRefused("privacy.dp is not set in the run file, so there is nothing to promise")
    return run.privacy.dp
