"""One site's trouble is its own, in every phase of every algorithm."""

from dataclasses import replace

import pytest
import torch

from fedefm.errors import ModelError, QuorumLost
from fedefm.train.exchange import SERVER
from fedefm.train.message import Postbox
from fedefm.train.simulate import Faults

EXCHANGING = ["swap", "grid", "mixed", "aggregated", "literal", "gossip", "fedavg"]
PHASES = [
    ("swap", 0, "sum"),
    ("swap", 1, "weights"),
    ("swap", 1, "expert"),
    ("mixed", 1, "weights"),
    ("mixed", 1, "expert"),
    ("aggregated", 1, "weights"),
    ("aggregated", 1, "experts"),
    ("grid", 1, "weights"),
    ("grid", 1, "expert"),
    ("literal", 1, "weights"),
    ("literal", 1, "expert"),
    ("gossip", 1, "sum"),
    ("fedavg", 1, "sum"),
    ("fedavg", 1, "model"),
]


def finite(federation):
    weights = [site.weights() for site in federation.sites.values()]
    return all(torch.isfinite(value).all() for own in weights for value in own.values())


def play(observed, rounds):
    for round_index in range(rounds):
        observed.federation.play_round(round_index)


@pytest.mark.parametrize("sender", ["north", "west"])
@pytest.mark.parametrize(("algorithm", "at", "phase"), PHASES)
def test_a_lost_message_costs_no_more_than_itself(configure, observe, algorithm, at, phase, sender):
    source = SERVER if phase == "model" else sender

    def lose(header):
        only = header.receiver == sender if phase == "model" else True
        return (header.round, header.phase, header.sender) == (at, phase, source) and only

    observed = observe(configure(algorithm), Faults(lose=lose))
    play(observed, at + 2)

    assert [e["round"] for e in observed.told("round_finished")] == list(range(at + 2))
    for event in observed.told("round_finished"):
        reached = event["round"] != at or algorithm != "fedavg"
        assert set(event["missing"]) == (set() if reached else {sender})
    for round_index in range(at + 2):
        unheard = observed.unheard(round_index)
        if round_index != at or (algorithm, phase) == ("fedavg", "sum"):
            assert set(map(tuple, unheard.values())) == {()}
        elif algorithm == "fedavg":
            assert unheard == {site: [SERVER] if site == sender else [] for site in unheard}
        else:
            partners = sorted(observed.sites[sender].partners(at))
            wanted = {site: [sender] if site in partners else [] for site in unheard}
            if phase == "weights":  # nobody could train what did not arrive
                wanted[sender] = partners
            assert unheard == wanted
    assert finite(observed.federation)


@pytest.mark.parametrize("algorithm", EXCHANGING)
def test_a_site_that_nobody_hears_for_a_whole_run_stops_nobody(configure, observe, algorithm):
    observed = observe(
        configure(algorithm),
        Faults(lose=lambda h: "south" in (h.sender, h.receiver)),
    )
    observed.federation.train()
    observed.federation.publish()
    assert observed.federation.finished_rounds == 4
    assert finite(observed.federation)


@pytest.mark.parametrize("algorithm", EXCHANGING)
def test_the_global_model_is_made_of_whoever_answers_and_the_rest_is_named(
    configure, observe, algorithm
):
    run = configure(algorithm, rounds=1)
    observed = observe(
        run, Faults(lose=lambda h: h.round == 1 and "south" in (h.sender, h.receiver))
    )
    observed.federation.train()
    averages = [s.average for name, s in observed.sites.items() if name != "south"]
    weights = observed.federation.publish()
    if algorithm != "fedavg":
        wanted = {name: sum(a[name] for a in averages) / 3 for name in weights}
        torch.testing.assert_close(weights, wanted)
        assert list(observed.told("published")[0]["missing"]) == ["south"]


def test_a_late_message_is_refused_in_the_next_round_and_told(configure, observe):
    late = Faults(delay_s=lambda h: 1000.0 if (h.round, h.sender) == (0, "north") else 0.0)
    observed = observe(configure("gossip"), late)
    play(observed, 2)

    assert observed.unheard(0) == {"north": [], "east": ["north"], "south": [], "west": ["north"]}
    assert set(map(tuple, observed.unheard(1).values())) == {()}
    rejected = observed.told("rejected")
    assert [(e["round"], e["site"]) for e in rejected] == [(1, "east"), (1, "west")]
    assert all("'north'" in e["reason"] and "round is 0" in e["reason"] for e in rejected)


@pytest.mark.parametrize("algorithm", [*EXCHANGING, "none"])
def test_a_site_that_throws_is_skipped_named_put_back_and_comes_again(
    configure, observe, algorithm
):
    crash = Faults(crash=lambda site, round_index: (site, round_index) == ("east", 1))
    observed = observe(configure(algorithm), crash)
    east = observed.sites["east"]
    play(observed, 1)
    before = east.state()
    play_one = observed.federation.play_round
    play_one(1)
    torch.testing.assert_close(east.state(), before, rtol=0, atol=0)
    play_one(2)

    first, second, third = observed.told("round_finished")
    assert first["missing"] == third["missing"] == {}
    assert second["missing"] == {"east": "InjectedCrash: injected crash in round 1"}
    assert sorted(second["participants"]) == ["north", "south", "west"]
    (failed,) = observed.told("round", status="failed")
    assert (failed["site"], failed["round"]) == ("east", 1)
    assert "injected crash" in failed["reason"]
    assert "east" in third["participants"]


def test_a_site_that_breaks_while_hosting_is_put_back_too(configure, observe):
    observed = observe(configure("swap", expert_every=1))
    east = observed.sites["east"]
    fit, calls = east.trainer.fit, []

    def breaks(*arguments):
        calls.append(1)
        if len(calls) == 2:  # its own training went well
            fit(*arguments)
            raise ModelError("the disk is full")
        return fit(*arguments)

    east.trainer.fit = breaks
    before = east.state()
    observed.federation.play_round(0)

    torch.testing.assert_close(east.state(), before, rtol=0, atol=0)
    (failed,) = observed.told("round", status="failed")
    assert (failed["site"], failed["reason"]) == ("east", "ModelError: the disk is full")
    (partner,) = east.partners(0)
    assert observed.unheard(0)[partner] == ["east"]
    observed.federation.play_round(1)
    assert "east" in observed.told("round_finished")[1]["participants"]


def poisoned(weights):
    return {name: value * float("nan") for name, value in weights.items()}


def shrunk(weights):
    return dict(list(weights.items())[1:])


def lying(steps, lie):
    """The same party, but what it sends is a lie."""
    inbox = None
    while True:
        try:
            exchange = steps.send(inbox)
        except StopIteration as finished:
            return finished.value
        outgoing = {receiver: lie(tensors) for receiver, tensors in exchange.outgoing.items()}
        inbox = yield replace(exchange, outgoing=outgoing)


@pytest.mark.parametrize(
    ("lie", "reason"), [(poisoned, "holds NaN"), (shrunk, "is missing")], ids=["nan", "shape"]
)
def test_a_lying_site_is_refused_by_name_and_changes_nobody(configure, observe, lie, reason):
    dropped = observe(configure("mixed"), Faults(lose=lambda h: h.sender == "west"))
    with_liar = observe(configure("mixed"))
    honest = with_liar.federation._parties

    def parties(round_index):
        made = honest(round_index)
        return {**made, "west": lying(made["west"], lie)}

    with_liar.federation._parties = parties
    with_liar.federation.play_round(0)
    dropped.federation.play_round(0)

    rejected = with_liar.told("rejected")
    assert {event["site"] for event in rejected} == {"north", "east", "south"}
    assert all("'west'" in event["reason"] and reason in event["reason"] for event in rejected)
    for name in ("north", "east", "south"):
        assert with_liar.unheard(0)[name] == ["west"]
        torch.testing.assert_close(
            with_liar.sites[name].weights(), dropped.sites[name].weights(), rtol=0, atol=0
        )


def test_a_site_of_another_job_is_refused(configure, observe):
    observed = observe(configure("gossip"))
    observed.federation._network._postboxes["north"] = Postbox("north", "other", "small")
    observed.federation.play_round(0)
    assert observed.unheard(0)["east"] == ["north"]
    assert "job is 'other', not 'small'" in observed.told("rejected", site="east")[0]["reason"]


@pytest.mark.parametrize("algorithm", ["swap", "fedavg", "none"])
def test_the_run_goes_on_at_the_quorum_and_ends_below_it(configure, observe, algorithm):
    def crash(site, round_index):
        return site in ("east", "south") or (site == "west" and round_index == 1)

    observed = observe(configure(algorithm, quorum=0.5), Faults(crash=crash))
    observed.federation.play_round(0)
    with pytest.raises(QuorumLost) as lost:
        observed.federation.play_round(1)

    sentence = str(lost.value)
    assert "round 2: 1 of 4 sites took part, fewer than the quorum of 50%" in sentence
    for site in ("east", "south", "west"):
        assert f"{site} (InjectedCrash: injected crash in round 1)" in sentence
    assert "north" not in sentence
    assert observed.told("round_finished")[1]["participants"] == ["north"]


def test_a_round_without_quorum_is_not_kept(configure, observe, state_folder):
    crash = Faults(crash=lambda site, round_index: round_index == 1 and site != "north")
    observed = observe(configure("swap"), crash, state_folder=state_folder)
    with pytest.raises(QuorumLost):
        observed.federation.train()
    assert [path.name for path in state_folder.iterdir()] == ["round-000001"]


def test_a_client_server_round_needs_the_parts_of_a_quorum_at_the_server(configure, observe):
    lost = Faults(lose=lambda h: h.phase == "sum" and h.sender != "north")
    observed = observe(configure("fedavg"), lost)
    with pytest.raises(QuorumLost, match=r"1 of 4.*east \(the server did not hear from it"):
        observed.federation.play_round(0)


def test_a_global_model_of_too_few_is_not_given_out_as_everybodys(configure, observe):
    lost = Faults(lose=lambda h: h.round == 1 and h.phase == "sum" and h.sender != "north")
    observed = observe(configure("swap", rounds=1), lost)
    observed.federation.train()
    with pytest.raises(QuorumLost, match=r"the global model: 1 of 4.*south"):
        observed.federation.publish()
