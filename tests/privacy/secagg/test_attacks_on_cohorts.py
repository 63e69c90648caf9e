"""Attacks on the mean that a cohort shares: who lies about it, and what a site does without it.

Each is refused, or yields nothing, and works where the guard against it is taken away.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from fedefm.errors import QuorumLost
from fedefm.model.weights import flatten, unflatten
from fedefm.train.exchange import Cohort, Exchange, Occasion, Steps
from fedefm.train.rounds.cohort import PRESENT, average_with_cohort
from fedefm.train.rounds.gossip import gossip_round
from fedefm.train.simulate import Faults
from fedefm.train.site import Site
from tests.privacy.secagg.federated import (
    EVERYBODY,
    NAMES,
    VICTIM,
    Nameless,
    Run,
    a_run,
    everybody,
    near,
    zeros,
)

GOSSIP = {"algorithm": "gossip", "schedule": "neighbors", "topology": "complete"}
LIAR = "a"  # the collector of the first round


# ------------------------------------------------------- a collector that lies about its mean


def hands_zeros_to_the_others(site: Site, says_present: Callable[[str], set[str]]) -> Steps[None]:
    """Collect honestly, give the mean to the victim alone, and say to each who is in it."""
    site.train_locally(0)
    part = flatten(site.weights()) / len(NAMES)
    cohort = Cohort(LIAR, EVERYBODY - {LIAR}, joins=True)
    total = yield from site.sum(Occasion(0, "sum", part.numel()), {}, cohort)
    mean = unflatten(total.vector + part, site.weights())
    handed = {}
    for name in total.members:
        marks = [other in says_present(name) for other in NAMES]
        weights = mean if name == VICTIM else zeros(mean)
        handed[name] = {**weights, PRESENT: torch.tensor(marks, dtype=torch.uint8)}
    yield Exchange("mean", handed, frozenset(), {}, total.next_step)


def only_the_two_of_us(name: str) -> set[str]:
    return {LIAR, name}


def truly_all(name: str) -> set[str]:
    return set(NAMES)


def gossip(run: Run, round_index: int) -> dict[str, Steps[Any]]:
    mean = partial(average_with_cohort, run.plan.cohorts)
    return everybody(run, lambda site: gossip_round(site, round_index, mean))


def lied_to(
    run: Run, says_present: Callable[[str], set[str]], faults: Faults | None = None
) -> dict[str, Any]:
    assert run.plan.cohorts.collector(VICTIM, 0) == LIAR
    liar = hands_zeros_to_the_others(run.sites[LIAR], says_present)
    return run.play(0, {**gossip(run, 0), LIAR: liar}, faults)


def forget_who_signed(run: Run) -> None:
    for site in run.sites.values():
        site.sum = Nameless(site)


def silenced(run: Run) -> set[str]:
    """Who holds zeros, from which nothing is learned."""
    return {name for name, site in run.sites.items() if not flatten(site.weights()).any()}


def victims_part_in_the_next_mean(run: Run) -> tuple[Tensor, Tensor]:
    """What the liar makes of the next, honest, mean; and what the victim gave."""
    trained: dict[str, Tensor] = {}

    def watched(site: Site, train: Callable[[int], Any]) -> Callable[[int], Any]:
        def train_and_note(round_index: int) -> Any:
            stats = train(round_index)
            trained[site.name] = flatten(site.weights())
            return stats

        return train_and_note

    for site in run.sites.values():
        site.train_locally = watched(site, site.train_locally)  # type: ignore[method-assign]
    run.play(1, gossip(run, 1))
    mean = flatten(run.sites[LIAR].weights())
    return mean * len(NAMES) - trained[LIAR], trained[VICTIM]


no_echo = Faults(lose=lambda header: header.phase == "echo")


def test_a_collector_that_says_others_are_in_the_mean_than_signed_it_is_refused_by_name() -> None:
    run = a_run(**GOSSIP)
    outcomes = lied_to(run, only_the_two_of_us)
    for name in sorted(EVERYBODY - {LIAR}):
        said = str(outcomes[name].error)
        assert f"site '{LIAR}' says that {LIAR}, {name} are in its mean" in said
        assert "b, c, d, e have signed the sum" in said
    assert not silenced(run)
    assert not near(*victims_part_in_the_next_mean(run))


def test_members_that_believe_the_collector_can_be_silenced_one_by_one() -> None:
    run = a_run(**GOSSIP)
    forget_who_signed(run)
    lied_to(run, only_the_two_of_us)
    assert silenced(run) == EVERYBODY - {LIAR, VICTIM}
    assert near(*victims_part_in_the_next_mean(run))


def test_different_means_are_not_taken_where_the_echo_of_the_others_is_kept_back() -> None:
    run = a_run(**GOSSIP)
    lied_to(run, truly_all, no_echo)
    assert not silenced(run)
    assert {name for name in NAMES if run.sites[name].apart} == EVERYBODY - {LIAR}
    assert not near(*victims_part_in_the_next_mean(run))


def test_members_that_need_no_echo_can_be_silenced_where_it_is_kept_back() -> None:
    run = a_run(**GOSSIP)
    forget_who_signed(run)
    lied_to(run, truly_all, no_echo)
    assert silenced(run) == EVERYBODY - {LIAR, VICTIM}
    assert near(*victims_part_in_the_next_mean(run))


@pytest.mark.parametrize("secret", [True, False])
def test_one_lost_echo_costs_its_receiver_the_mean_where_the_sum_is_secure(secret: bool) -> None:
    run = a_run(secret, **{**GOSSIP, "schedule": "grid", "cohort": len(NAMES)})
    lost = Faults(lose=lambda h: (h.phase, h.sender, h.receiver) == ("echo", "b", "d"))
    outcomes = run.play(0, gossip(run, 0), lost)

    assert not any(outcome.error for outcome in outcomes.values())
    mean = flatten(run.sites[LIAR].weights())
    without = {n for n, site in run.sites.items() if not torch.equal(flatten(site.weights()), mean)}
    assert without == ({"d"} if secret else set())
    assert {name for name, site in run.sites.items() if site.apart} == without


# ------------------------------------------------------- what a site does without a mean


def without_its_part(round_index: int, *names: str) -> Faults:
    """The masked vectors of ``names`` are lost in one round."""
    wanted = (round_index, "sum/masked")
    return Faults(lose=lambda h: (h.round, h.phase) == wanted and h.sender in names)


def curious_about_the_published_model(run: Run) -> tuple[Tensor, Tensor]:
    """What ``b`` makes of the global model after the victim missed the last mean; and the truth.

    All others have the average of ``b``, and the last weights enter it with 1 - decay.
    """
    federation = run.federation(without_its_part(1, VICTIM))
    federation.train()
    published = federation.publish()
    assert published is not None
    curious, decay = run.sites["b"], run.settings.training.average_decay
    average, latest = flatten(curious.average or {}), flatten(curious.weights())
    beyond = len(NAMES) * (flatten(published) - average) / (1 - decay)
    return latest + beyond, flatten(run.sites[VICTIM].weights())


def test_what_entered_no_mean_is_not_in_the_published_model_either() -> None:
    assert not near(*curious_about_the_published_model(a_run(**GOSSIP, rounds=2)))


def test_an_average_over_all_rounds_would_publish_what_one_site_did_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = Site.finish_round

    def whatever_happened(site: Site) -> None:
        site.apart = False
        honest(site)

    monkeypatch.setattr(Site, "finish_round", whatever_happened)
    assert near(*curious_about_the_published_model(a_run(**GOSSIP, rounds=2)))


def test_a_site_that_missed_a_mean_is_apart_until_the_next_one() -> None:
    run = a_run(**GOSSIP)
    federation = run.federation(without_its_part(1, VICTIM))
    victim, other = run.sites[VICTIM], run.sites["b"]
    averages = []
    for round_index in range(3):
        federation.play_round(round_index)
        averages.append(flatten(victim.average or {}))
        assert victim.apart == (round_index == 1)
        assert not other.apart
        together = torch.equal(flatten(victim.weights()), flatten(other.weights()))
        assert together != victim.apart
    assert torch.equal(averages[0], averages[1])
    decay = run.settings.training.average_decay
    wanted = decay * averages[1] + (1 - decay) * flatten(victim.weights())
    torch.testing.assert_close(averages[2], wanted)


@pytest.mark.parametrize("apart", [True, False])
def test_whether_a_site_is_apart_outlives_it(apart: bool) -> None:
    site, later = (a_run(secret=False, **GOSSIP).sites[VICTIM] for _ in range(2))
    site.apart, later.apart = apart, not apart
    later.load_state(site.state())
    assert later.apart == apart


def test_a_site_that_was_in_no_mean_counts_nothing_in_the_published_model() -> None:
    run = a_run(**GOSSIP, rounds=1)
    federation = run.federation(without_its_part(0, VICTIM))
    federation.train()
    published = federation.publish()
    assert published is not None
    assert near(flatten(published), flatten(run.sites["b"].average or {}))


def test_a_run_in_which_no_mean_ever_came_about_says_so() -> None:
    run = a_run(**GOSSIP, rounds=1)
    federation = run.federation(without_its_part(0, *NAMES))
    federation.train()
    assert all(site.apart for site in run.sites.values())
    with pytest.raises(QuorumLost, match="none was ever in a mean of its cohort"):
        federation.publish()
