"""Attacks on what surrounds a sum: a liar chooses what model each of its parts is about.

Each is refused, or yields nothing, and works where the guard against it is taken away.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedefm.errors import ProtocolError
from fedefm.model.weights import Weights, flatten
from fedefm.train.exchange import SERVER, Cohort, Exchange, Occasion, RoundStats, Steps, Total
from fedefm.train.message import digest
from fedefm.train.rounds import aggregated, metrics
from fedefm.train.rounds.aggregated import aggregated_round
from fedefm.train.rounds.fedavg import fedavg_server_round, fedavg_site_round
from fedefm.train.rounds.fedefm import host_all
from fedefm.train.rounds.metrics import give_metrics, publish_and_give, take_metrics
from fedefm.train.rounds.publish import receive_site
from fedefm.train.simulate import Outcome
from fedefm.train.site import Site
from tests.privacy.secagg.federated import (
    EVERYBODY,
    NAMES,
    VICTIM,
    Run,
    Unit,
    a_run,
    everybody,
    near,
    zeros,
)

FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
GOSSIP = {"algorithm": "gossip", "schedule": "neighbors", "topology": "complete"}
AGGREGATED = {**GOSSIP, "algorithm": "fedefm", "update": "mixed", "expert": "aggregated"}
LIAR = "a"  # the collector of the first round
OTHERS = sorted(EVERYBODY - {VICTIM})


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
) -> dict[str, Outcome[Any]]:
    """What comes of it, if the server asks for the sum over the victim's model, or ``agreed``."""
    held = digest(models[VICTIM]) if agreed is None else agreed
    parties = {**everybody(run, give), SERVER: judges(run, models, held)}
    return run.play(run.server.rounds, parties)


def honestly(site: Site) -> Steps[Any]:
    return publish_and_give(receive_site, site)


def test_a_model_handed_to_one_site_alone_is_not_judged() -> None:
    run = a_run(**FEDAVG)
    outcomes = judged(run, {VICTIM: run.server.weights}, honestly)
    assert outcomes[SERVER].result.members == ()
    assert {outcomes[name].sent_bytes for name in OTHERS} == {0}


def test_parts_of_zeros_would_hide_nobody() -> None:
    run = a_run(**FEDAVG)
    models = {VICTIM: run.server.weights}
    total = judged(run, models, gives_zeros_where_no_model_came, agreed="")[SERVER].result
    assert set(total.members) == EVERYBODY
    assert total.vector.tolist() == right_answers(run.sites[VICTIM], run.server.weights)


def a_good_model_for_the_victim(run: Run) -> dict[str, Weights]:
    dead = zeros(run.server.weights)
    return {name: run.server.weights if name == VICTIM else dead for name in NAMES}


def test_judgments_of_different_models_are_not_added_up() -> None:
    run = a_run(**FEDAVG)
    outcomes = judged(run, a_good_model_for_the_victim(run), honestly)
    assert outcomes[SERVER].result.members == ()
    for name in OTHERS:
        assert f"{name}: it trained another model" in run.complaints()


def test_judgments_are_added_up_where_nobody_says_what_was_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = a_run(**FEDAVG)
    monkeypatch.setattr(metrics, "digest", lambda weights: "")
    outcomes = judged(run, a_good_model_for_the_victim(run), honestly, agreed="")
    assert set(outcomes[SERVER].result.members) == EVERYBODY


def test_the_same_model_for_all_is_judged_by_all() -> None:
    run = a_run(**FEDAVG)
    total = judged(run, dict.fromkeys(NAMES, run.server.weights), honestly)[SERVER].result
    answers = [right_answers(site, run.server.weights) for site in run.sites.values()]
    assert total.vector.tolist() == torch.tensor(answers).sum(dim=0).tolist()


def numbers_of_a_round_that_only_the_victim_finished(run: Run, careless: bool) -> Any:
    """The server's model makes training fail at all others, and ``careless`` sites tell zeros."""
    for name in OTHERS:
        run.sites[name].trainer = Unit(math.nan)
    outcomes = run.play(0, fedavg(run, 0))
    assert [name for name in NAMES if outcomes[name].error is None] == [VICTIM]
    stats = {name: outcomes[name].result or (RoundStats() if careless else None) for name in NAMES}
    told = everybody(run, lambda site: give_metrics(site, 0, stats[site.name]))
    return run.play(0, {**told, SERVER: take_metrics(run.server, 0)})[SERVER].result.asked


def test_who_failed_tells_no_numbers_that_would_leave_a_single_teller() -> None:
    run = a_run(**FEDAVG)
    pooled = numbers_of_a_round_that_only_the_victim_finished(run, careless=False)
    assert (pooled.sites, pooled.loss, pooled.trained_on) == (0, None, None)


def test_careless_sites_leave_the_loss_to_the_single_teller() -> None:
    run = a_run(**FEDAVG)
    pooled = numbers_of_a_round_that_only_the_victim_finished(run, careless=True)
    assert pooled.sites == len(NAMES)
    assert pooled.loss == pytest.approx(run.sites[VICTIM].trainer.target)


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
