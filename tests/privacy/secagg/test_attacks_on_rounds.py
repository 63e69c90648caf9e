"""Attacks on what surrounds a sum: a liar chooses what its parts are about, or who takes the mean.

Each is refused, or yields nothing, and works where the guard against it is taken away.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from fedefm.errors import ProtocolError, QuorumLost
from fedefm.model.weights import Weights, flatten, unflatten
from fedefm.train.exchange import SERVER, Cohort, Exchange, Occasion, RoundStats, Steps, Total
from fedefm.train.message import digest
from fedefm.train.rounds import aggregated, metrics
from fedefm.train.rounds.aggregated import aggregated_round
from fedefm.train.rounds.cohort import PRESENT, average_with_cohort
from fedefm.train.rounds.fedavg import fedavg_server_round, fedavg_site_round
from fedefm.train.rounds.fedefm import host_all
from fedefm.train.rounds.gossip import gossip_round
from fedefm.train.rounds.metrics import give_metrics, publish_and_give, take_metrics
from fedefm.train.rounds.publish import receive_site
from fedefm.train.simulate import Faults
from fedefm.train.site import Site
from tests.privacy.secagg.federated import (
    EVERYBODY,
    NAMES,
    UNTRAINABLE,
    VICTIM,
    Nameless,
    Run,
    a_run,
    near,
    zeros,
)

FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
GOSSIP = {"algorithm": "gossip", "schedule": "neighbors", "topology": "complete"}
AGGREGATED = {**GOSSIP, "algorithm": "fedefm", "update": "mixed", "expert": "aggregated"}
LIAR = "a"  # the collector of the first round
OTHERS = sorted(EVERYBODY - {VICTIM})


def everybody(run: Run, steps: Callable[[Site], Steps[Any]]) -> dict[str, Steps[Any]]:
    return {name: steps(site) for name, site in run.sites.items()}


def fedavg(run: Run, round_index: int) -> dict[str, Steps[Any]]:
    honest = everybody(run, lambda site: fedavg_site_round(site, round_index))
    return {**honest, SERVER: fedavg_server_round(run.server, round_index)}


# ------------------------------------------------------- a server that hands out nothing


def silences_all_but_the_victim(run: Run) -> Steps[None]:
    """Hand zeros to the others, and take no sum, in which the difference would be seen."""
    dead, good = zeros(run.server.weights), run.server.weights
    models = {name: good if name == VICTIM else dead for name in NAMES}
    yield Exchange("model", models, frozenset(), run.server.shapes)


def hands_out_nothing(run: Run, round_index: int) -> Steps[Total]:
    yield Exchange("model", {}, frozenset(), run.server.shapes)
    occasion = Occasion(round_index, "sum", flatten(run.server.weights).numel() + 1)
    return (yield from run.server.sum(occasion, {}, Cohort(SERVER, EVERYBODY)))


def goes_on_with_an_old_model(site: Site, round_index: int) -> Steps[None]:
    """A site that trains whatever it has, and does not say on what."""
    yield Exchange("model", {}, frozenset({SERVER}), site.shapes)
    site.train_locally(round_index)
    part = torch.cat([flatten(site.weights()) * site.share, torch.tensor([site.share])])
    occasion = Occasion(round_index, "sum", part.numel())
    yield from site.sum(occasion, {Cohort(SERVER, site.everyone): part}, None)


def silenced_in_the_first_round() -> Run:
    run = a_run(**FEDAVG)
    honest = everybody(run, lambda site: fedavg_site_round(site, 0))
    run.play(0, {**honest, SERVER: silences_all_but_the_victim(run)})
    return run


def test_a_server_that_hands_out_nothing_gets_no_sum_over_the_models_of_before() -> None:
    run = silenced_in_the_first_round()
    honest = everybody(run, lambda site: fedavg_site_round(site, 1))
    outcomes = run.play(1, {**honest, SERVER: hands_out_nothing(run, 1)})

    assert outcomes[SERVER].result.members == ()
    for name in NAMES:
        assert isinstance(outcomes[name].error, ProtocolError)
        assert "server's model did not come" in str(outcomes[name].error)

    outcomes = run.play(2, fedavg(run, 2))
    assert not any(outcome.error for outcome in outcomes.values())
    assert outcomes[SERVER].result.left_out == ()


def test_sites_that_go_on_with_an_old_model_give_the_victims_away() -> None:
    run = silenced_in_the_first_round()
    careless = everybody(run, lambda site: goes_on_with_an_old_model(site, 1))
    outcomes = run.play(1, {**careless, SERVER: hands_out_nothing(run, 1)})

    total, victim = outcomes[SERVER].result, run.sites[VICTIM]
    assert set(total.members) == EVERYBODY
    assert near(total.vector[:-1] / victim.share, flatten(victim.weights()))


# ------------------------------------------------------- measured on different models


def judges(run: Run, models: dict[str, Weights], agreed: str) -> Steps[Total]:
    """A server that hands ``models`` out as the global one, and takes the sum of what they do."""
    yield Exchange("model", models, frozenset(), run.server.shapes)
    occasion = Occasion(run.server.rounds, "metrics", 4, counts=True)
    return (yield from run.server.sum(occasion, {}, Cohort(SERVER, EVERYBODY, agreed=agreed)))


def gives_zeros_where_no_model_came(site: Site) -> Steps[None]:
    """And does not say which one it measured."""
    weights = yield from receive_site(site)
    counts = [0, 0, 0, 0] if weights is None else right_answers(site, weights)
    occasion = Occasion(site.settings.federation.rounds, "metrics", 4, counts=True)
    part = torch.tensor(counts, dtype=torch.float32)
    yield from site.sum(occasion, {Cohort(SERVER, site.everyone): part}, None)


def right_answers(site: Site, weights: Weights) -> list[int]:
    return [n for split in ("validation", "test") for n in site.measure_with(weights, split)]


def judged(
    run: Run,
    models: dict[str, Weights],
    give: Callable[[Site], Steps[Any]],
    agreed: str | None = None,
) -> Total:
    """What the server gets, if it asks for the sum over the victim's model, or ``agreed``."""
    held = digest(models[VICTIM]) if agreed is None else agreed
    parties = {**everybody(run, give), SERVER: judges(run, models, held)}
    total: Total = run.play(run.server.rounds, parties)[SERVER].result
    return total


def honestly(site: Site) -> Steps[Any]:
    return publish_and_give(receive_site, site)


def test_a_model_handed_to_one_site_alone_is_not_judged() -> None:
    run = a_run(**FEDAVG)
    assert judged(run, {VICTIM: run.server.weights}, honestly).members == ()


def test_parts_of_zeros_would_hide_nobody() -> None:
    run = a_run(**FEDAVG)
    total = judged(run, {VICTIM: run.server.weights}, gives_zeros_where_no_model_came, agreed="")
    assert set(total.members) == EVERYBODY
    assert total.vector.tolist() == right_answers(run.sites[VICTIM], run.server.weights)


def a_good_model_for_the_victim(run: Run) -> dict[str, Weights]:
    dead = zeros(run.server.weights)
    return {name: run.server.weights if name == VICTIM else dead for name in NAMES}


def test_judgments_of_different_models_are_not_added_up() -> None:
    run = a_run(**FEDAVG)
    assert judged(run, a_good_model_for_the_victim(run), honestly).members == ()
    for name in OTHERS:
        assert f"{name}: it trained another model" in run.complaints()


def test_judgments_are_added_up_where_nobody_says_what_was_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = a_run(**FEDAVG)
    monkeypatch.setattr(metrics, "digest", lambda weights: "")
    total = judged(run, a_good_model_for_the_victim(run), honestly, agreed="")
    assert set(total.members) == EVERYBODY


def test_the_same_model_for_all_is_judged_by_all() -> None:
    run = a_run(**FEDAVG)
    total = judged(run, dict.fromkeys(NAMES, run.server.weights), honestly)
    answers = [right_answers(site, run.server.weights) for site in run.sites.values()]
    assert total.vector.tolist() == torch.tensor(answers).sum(dim=0).tolist()


def fails_everywhere_but_at_the_victim(run: Run) -> Steps[None]:
    broken = {n: torch.full_like(v, UNTRAINABLE) for n, v in run.server.weights.items()}
    models = {name: run.server.weights if name == VICTIM else broken for name in NAMES}
    yield Exchange("model", models, frozenset(), run.server.shapes)


def numbers_of_a_round_that_only_the_victim_finished(run: Run, careless: bool) -> Any:
    """``careless`` sites tell numbers of a round that failed, and not on which model."""
    honest = everybody(run, lambda site: fedavg_site_round(site, 0))
    outcomes = run.play(0, {**honest, SERVER: fails_everywhere_but_at_the_victim(run)})
    assert [name for name in NAMES if outcomes[name].error is None] == [VICTIM]
    stats = {name: outcomes[name].result or (RoundStats() if careless else None) for name in NAMES}
    run.server.handed = "" if careless else run.sites[VICTIM].handed
    for site in run.sites.values():
        site.handed = "" if careless else site.handed
    told = everybody(run, lambda site: give_metrics(site, 0, stats[site.name]))
    return run.play(0, {**told, SERVER: take_metrics(run.server, 0)})[SERVER].result


def test_who_failed_tells_no_numbers_that_would_leave_a_single_teller() -> None:
    run = a_run(**FEDAVG)
    pooled = numbers_of_a_round_that_only_the_victim_finished(run, careless=False)
    assert (pooled.sites, pooled.loss, pooled.trained_on) == (0, None, None)


def test_careless_sites_leave_the_loss_to_the_single_teller() -> None:
    run = a_run(**FEDAVG)
    pooled = numbers_of_a_round_that_only_the_victim_finished(run, careless=True)
    assert pooled.sites == len(NAMES)
    assert pooled.loss == pytest.approx(run.sites[VICTIM].trainer.target)


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


# ------------------------------------------------------- weights lent to one host alone


def lends_zeros_to_all_but_the_victim(site: Site, seen: dict[str, Any]) -> Steps[None]:
    """Do everything else as an honest site does, and say what the victim must hold, too."""
    site.train_locally(0)
    own = site.weights()
    lent = {name: own if name == VICTIM else zeros(own) for name in site.partners(0)}
    inbox = yield Exchange("weights", lent, site.sources(0), site.shapes)
    parts = {}
    for owner, trained in host_all(site, inbox, 0).items():
        cohort = replace(site.hosts(owner, 0), agreed=aggregated.digest(inbox[owner]))
        parts[cohort] = flatten(trained) / len(cohort.members)
    hosts = replace(site.hosts(LIAR, 0), agreed=aggregated.digest(own))
    length = flatten(own).numel()
    seen["experts"] = yield from site.sum(Occasion(0, "experts", length), parts, hosts)
    seen["lent"] = own


def mean_of_experts_taken_by_the_liar(run: Run) -> tuple[Total, Tensor]:
    """The sum that the liar gets, and the expert that the victim made for it."""
    seen: dict[str, Any] = {}
    honest = everybody(run, lambda site: aggregated_round(site, 0))
    liar = lends_zeros_to_all_but_the_victim(run.sites[LIAR], seen)
    outcomes = run.play(0, {**honest, LIAR: liar})
    assert not any(outcome.error for outcome in outcomes.values())
    victim: Any = run.sites[VICTIM].trainer
    return seen["experts"], flatten(victim.of(seen["lent"]))


def test_who_lends_its_hosts_different_weights_gets_no_mean_of_their_experts() -> None:
    run = a_run(**AGGREGATED)
    total, _ = mean_of_experts_taken_by_the_liar(run)
    assert total.members == ()
    for name in sorted(EVERYBODY - {LIAR, VICTIM}):
        assert f"{name}: it trained another model" in run.complaints()
    assert all(run.sites[name].experts for name in EVERYBODY - {LIAR})  # the honest got theirs


def test_hosts_that_do_not_say_what_they_trained_give_away_the_victims_expert(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = a_run(**AGGREGATED)
    monkeypatch.setattr(aggregated, "digest", lambda weights: "")
    total, expert = mean_of_experts_taken_by_the_liar(run)
    assert near(total.vector * len(total.members), expert)


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
