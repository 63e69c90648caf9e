"""A site's policy against a private run: what both can keep, or why the site refuses.

The two files are compared before any image is read, and the stricter wins. Where that is not
possible the site refuses, in sentences for the person who submitted the job. What the policy says
to runs without differential privacy stands in ``fedefm.train.assemble.check_promises``.
"""

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
    found = refusals(site, run, counted)
    if found:
        raise PolicyRefused(all_problems(f"site {name!r} refuses this run", found))
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
    dp, entry = _dp(run), site.datasets[run.dataset]
    return [
        *_of_ledger(site),
        *_of_units(entry, dp, run.dataset, counted),
        *_of_delta(site.policy, dp, _public(entry, dp, counted)),
        *_of_epsilon(site.policy, dp),
        *_of_shared_noise(site.policy, run, dp, _public(entry, dp, counted)),
    ]


def _of_ledger(site: SiteConfig) -> Iterator[str]:
    if site.ledger is None:
        yield (
            "it keeps no epsilon ledger, and nothing is trained privately without one; name a "
            "file for it in the site file, such as `ledger: ledger.sqlite`"
        )


def _of_units(entry: DatasetEntry, dp: DpConfig, dataset: str, counted: int) -> Iterator[str]:
    if entry.unit != dp.unit:
        yield (
            f"its dataset {dataset!r} is counted by the {entry.unit}, and privacy.dp.unit is "
            f"{dp.unit!r}; set it to {entry.unit!r}"
        )
    if counted < 1:
        yield f"its dataset {dataset!r} has no {dp.unit}s to train on"
    elif counted > _public(entry, dp, counted):
        yield (
            f"its dataset {dataset!r} is said to be of {several(entry.patients or 0, 'patient')} "
            "and its manifest "
            "has more to train on; correct `patients` in the site file"
        )


def _of_delta(policy: PolicyConfig, dp: DpConfig, units: int) -> Iterator[str]:
    delta, largest = min(dp.delta, policy.delta), 1 / max(units, 1)
    where = "privacy.dp.delta" if dp.delta <= policy.delta else "policy.delta in the site file"
    if delta > largest:
        yield (
            f"delta {delta:g} is above one over its {several(units, dp.unit)}, so that a {dp.unit} "
            "could "
            f"be given away whole; set {where} to at most {largest:.2g}"
        )
    elif policy.epsilon_cap is not None and policy.delta > largest:
        yield (
            f"its epsilon cap is counted at delta {policy.delta:g}, above one over its "
            f"{several(units, dp.unit)}; set policy.delta in the site file to at most {largest:.2g}"
        )


def _of_epsilon(policy: PolicyConfig, dp: DpConfig) -> Iterator[str]:
    """Only where both epsilons mean the same; in all other cases the ledger compares."""
    comparable = dp.delta >= policy.delta and (
        _stricter(dp.adjacency, policy.adjacency) == policy.adjacency
    )
    cap = policy.epsilon_cap
    if cap is not None and dp.epsilon is not None and comparable and dp.epsilon > cap:
        yield (
            f"privacy.dp.epsilon {dp.epsilon:g} is above its cap of {cap:g} for all runs together; "
            f"ask for less than {cap:g}"
        )


def _of_shared_noise(
    policy: PolicyConfig, run: RunConfig, dp: DpConfig, units: int
) -> Iterator[str]:
    """Only where the run's noise is made by many sites together: ``secagg.noise_shares``."""
    shares = run.privacy.secagg and run.privacy.secagg.noise_shares
    if not shares:
        return
    if not policy.noise_shares:
        yield (
            "its patients' protection would rest on noise of other sites, of which "
            f"{shares.honest - 1} must be honest, and its policy does not allow that; leave out "
            "privacy.secagg.noise_shares, or let the site set policy.noise_shares to true"
        )
    if units < dp.patients_per_step:
        yield (
            f"a step expects {several(dp.patients_per_step, dp.unit)} of each site that shares its "
            "noise, "
            f"and it has {units}; set privacy.dp.patients_per_step to at most {units}"
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
