"""Secure sums as the learning code uses them: tensors in, a total out, and a faulty network."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedefm.config import SecaggConfig
from fedefm.errors import ConfigError, ProtocolError
from fedefm.train.exchange import Cohort, Occasion, RoundStats, Steps, Total, plain_sum
from fedefm.train.message import Header
from fedefm.train.pooled import MOST, UNIT, round_part
from fedefm.train.simulate import Faults, Network, Outcome
from privacy.identity import ThrowAwayRoot
from privacy.secagg.memory import Memory
from privacy.secagg.sum import SecureSum, ring_for

SERVER, NAMES, LENGTH = "server", ("a", "b", "c", "d", "e"), 7
SETTINGS = SecaggConfig()
ISSUER = ThrowAwayRoot()
OCCASION = Occasion(0, "sum", LENGTH)
Parts = Mapping[Cohort, Tensor]


class Team:
    """The parties of a run, each with its secure sum and what it was told."""

    def __init__(
        self, settings: SecaggConfig = SETTINGS, min_cohort: int = 1, whole: bool = False
    ) -> None:
        self.told: dict[str, list[str]] = {name: [] for name in (*NAMES, SERVER)}
        self.sums = {
            name: SecureSum(
                name,
                ISSUER.issue(name),
                ISSUER.root,
                Memory(None),
                "job",
                "run",
                settings,
                min_cohort,
                told.append,
                whole=whole,
            )
            for name, told in self.told.items()
        }

    def play(self, calls: Mapping[str, Any], faults: Faults | None = None) -> dict[str, Any]:
        """Each party calls its sum with ``(occasion, parts, own)``; how that ended."""
        steps: dict[str, Steps[Total]] = {
            name: self.sums[name](*call) for name, call in calls.items()
        }
        outcomes = Network("job", "run", 10.0, faults or Faults()).run_round(steps, 0)
        return dict(outcomes)


def part_of(name: str) -> Tensor:
    rng = torch.Generator().manual_seed(ord(name))
    return torch.rand(LENGTH, generator=rng) * 4 - 2


def to_server(occasion: Occasion = OCCASION, **changed: Any) -> dict[str, Any]:
    """Everybody gives its part to the server; some call otherwise."""
    cohort = Cohort(SERVER, frozenset(NAMES))
    calls: dict[str, Any] = {name: (occasion, {cohort: part_of(name)}, None) for name in NAMES}
    return calls | {SERVER: (occasion, {}, cohort)} | changed


def everybody_to_everybody(rounded: float = 1.0) -> dict[str, Any]:
    """Each receives the sum of all others, who are a cohort with it."""
    cohorts = {name: Cohort(name, frozenset(NAMES) - {name}, joins=True) for name in NAMES}
    return {
        name: (
            OCCASION,
            {cohorts[other]: rounded * part_of(name) for other in NAMES if other != name},
            cohorts[name],
        )
        for name in NAMES
    }


def is_sum_of(total: Total, members: Any) -> bool:
    """Within a quantum for each part, which stochastic rounding moves by less than one."""
    want = sum((part_of(name).double() for name in members), torch.zeros(LENGTH).double())
    allowed = max(1, len(members)) * ring_for(SETTINGS, len(NAMES)).quantum + 1e-6
    return total.members == tuple(sorted(members)) and bool(
        ((total.vector.double() - want).abs() < allowed).all()
    )


def test_the_server_learns_the_sum_and_the_sites_nothing() -> None:
    team = Team()
    outcomes = team.play(to_server())
    assert is_sum_of(outcomes[SERVER].result, NAMES)
    for name in NAMES:
        assert outcomes[name].result.members == ()
        assert not outcomes[name].result.vector.any()
    assert not any(team.told.values())


def test_it_is_the_plain_sum_but_for_rounding() -> None:
    secure = Team().play(to_server())[SERVER].result
    steps = {name: plain_sum(*call) for name, call in to_server().items()}
    plain = Network("job", "run", 10.0).run_round(steps, 0)[SERVER].result
    assert plain is not None
    assert secure.members == plain.members
    assert torch.allclose(secure.vector, plain.vector, atol=6e-6)
    assert not torch.equal(secure.vector, plain.vector)  # 24 bits of 8 are coarser than float32


def test_every_site_gives_to_several_sums_and_receives_one() -> None:
    outcomes = Team().play(everybody_to_everybody())
    for name in NAMES:
        assert is_sum_of(outcomes[name].result, set(NAMES) - {name})


def test_whole_numbers_are_added_exactly() -> None:
    cohort = Cohort(SERVER, frozenset(NAMES))
    counts = {name: torch.tensor([k, 10**6 + k, -k, 0.0]) for k, name in enumerate(NAMES)}
    occasion = Occasion(0, "metrics", 4, counts=True)
    calls: dict[str, Any] = {name: (occasion, {cohort: counts[name]}, None) for name in NAMES}
    total = Team().play(calls | {SERVER: (occasion, {}, cohort)})[SERVER].result
    assert total.vector.tolist() == [10.0, 5 * 10**6 + 10.0, -10.0, 0.0]


def test_three_bytes_a_value_where_the_run_file_says_so() -> None:
    wide, compact = (Team(SecaggConfig(compact=c)).play(to_server()) for c in (False, True))
    sent = [sum(outcome.sent_bytes for outcome in o.values()) for o in (wide, compact)]
    assert abs(sent[0] - sent[1] - len(NAMES) * LENGTH) < 200  # controls differ in their digits
    assert torch.allclose(compact[SERVER].result.vector, wide[SERVER].result.vector, atol=1e-3)


PHASES = ("advertise", "share", "masked", "consent", "unmask")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("silent", ["a", "ce"])
def test_whoever_falls_silent_is_left_out_or_counted_and_the_rest_is_exact(
    phase: str, silent: str
) -> None:
    """Before its masked vector is there, a site is left out; afterwards it is in the sum."""

    def lose(header: Header) -> bool:
        later = PHASES[PHASES.index(phase) :]
        return header.sender in silent and header.phase in [f"sum/{p}" for p in later]

    team = Team()
    outcomes = team.play(to_server(), Faults(lose=lose))
    gone = phase in ("advertise", "share", "masked")
    if len(silent) == 2:  # 3 of 5 are left, and it takes 4 against one colluder
        assert outcomes[SERVER].result.members == ()
        assert any("4 of 5 must help" in told for told in team.told[SERVER])
    else:
        assert is_sum_of(outcomes[SERVER].result, [n for n in NAMES if not gone or n not in silent])
    assert all(outcome.error is None for outcome in outcomes.values())


@settings(max_examples=25)
@given(
    st.sets(
        st.tuples(
            st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from([*PHASES, "roster"])
        ),
        max_size=12,
    )
)
def test_whatever_is_lost_each_sum_is_exact_or_empty(lost: set[tuple[str, str, str]]) -> None:
    def lose(header: Header) -> bool:
        return (header.sender, header.receiver, header.phase.removeprefix("sum/")) in lost

    team = Team()
    outcomes: dict[str, Outcome[Total]] = team.play(everybody_to_everybody(), Faults(lose=lose))
    for name in NAMES:
        assert outcomes[name].error is None
        total = outcomes[name].result
        assert total is not None
        assert is_sum_of(total, total.members)
        touched = any(name in (sender, receiver) for sender, receiver, _ in lost)
        assert touched or total.members == tuple(sorted(set(NAMES) - {name}))
        assert total.members or team.told[name]


@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), "not finite"), (float("inf"), "not finite"), (8.5, "bound")]
)
def test_a_part_that_must_not_enter_is_its_givers_error_before_anything_is_sent(
    value: float, words: str
) -> None:
    bad = part_of("b")
    bad[3] = value
    cohort = Cohort(SERVER, frozenset(NAMES))
    outcomes = Team().play(to_server(b=(OCCASION, {cohort: bad}, None)))
    assert isinstance(outcomes["b"].error, ProtocolError)
    assert words in str(outcomes["b"].error)
    assert outcomes["b"].sent_bytes == 0
    assert is_sum_of(outcomes[SERVER].result, set(NAMES) - {"b"})


def test_one_bad_part_of_several_stops_the_others_of_its_site_too() -> None:
    calls = everybody_to_everybody()
    occasion, parts, own = calls["b"]
    last = max(parts, key=lambda cohort: cohort.receiver)
    calls["b"] = (occasion, {**parts, last: parts[last] * torch.nan}, own)
    outcomes = Team().play(calls)
    assert isinstance(outcomes["b"].error, ProtocolError)
    assert outcomes["b"].sent_bytes == 0


def test_nothing_is_given_to_a_cohort_that_is_too_small_and_the_other_sums_go_on() -> None:
    team = Team(min_cohort=4)
    small, large = Cohort("a", frozenset("bcd"), joins=True), Cohort("e", frozenset("abcd"), True)
    calls: dict[str, Any] = {
        name: (OCCASION, {c: part_of(name) for c in (small, large) if name in c.members}, None)
        for name in "bcd"
    }
    calls["a"] = (OCCASION, {large: part_of("a")}, small)
    calls["e"] = (OCCASION, {}, large)
    sent: list[tuple[str, str]] = []

    def watched(header: Header) -> bool:
        sent.append((header.sender, header.receiver))
        return False

    outcomes = team.play(calls, Faults(lose=watched))
    assert is_sum_of(outcomes["e"].result, "abcd")
    assert outcomes["a"].result.members == ()
    for name in "bcd":
        assert any("min_cohort" in told for told in team.told[name])
    assert {sender for sender, receiver in sent if receiver == "a"} == {"e"}


def test_the_sum_of_one_is_never_taken() -> None:
    pair = Cohort("a", frozenset("b"), joins=True)
    team = Team()
    outcomes = team.play({"a": (OCCASION, {}, pair), "b": (OCCASION, {pair: part_of("b")}, None)})
    assert outcomes["a"].result.members == ()
    assert outcomes["b"].sent_bytes == 0
    assert "sum of one" in team.told["b"][0]


def test_without_anything_to_give_or_receive_nothing_happens() -> None:
    outcome = Team().play({"a": (OCCASION, {}, Cohort("a", frozenset()))})["a"]
    assert outcome.result.members == ()
    assert outcome.sent_bytes == 0


def test_who_was_handed_another_model_keeps_its_part_to_itself() -> None:
    """A server that hands out different models would read more than a mean (attack 2)."""
    team, alike = Team(), Cohort(SERVER, frozenset(NAMES), agreed="the model")
    calls = {name: (OCCASION, {alike: part_of(name)}, None) for name in NAMES}
    calls["c"] = (OCCASION, {replace(alike, agreed="another"): part_of("c")}, None)
    outcomes = team.play({**calls, SERVER: (OCCASION, {}, alike)})
    assert "c" not in outcomes[SERVER].result.members
    assert any("c" in told for told in team.told[SERVER])
    assert outcomes["c"].sent_bytes < 4 * LENGTH + 10_000


def test_what_is_no_row_of_bytes_is_not_taken_for_a_masked_vector() -> None:
    def liar(honest: Steps[Total]) -> Steps[Total]:
        inbox = None
        while True:
            exchange = honest.send(inbox)  # type: ignore[arg-type]
            if exchange.phase == "sum/masked":
                tensors = dict(exchange.outgoing[SERVER])
                tensors["vector"] = tensors["vector"].float()
                exchange.outgoing[SERVER] = tensors  # type: ignore[index]
            inbox = yield exchange

    team = Team()
    steps = {name: team.sums[name](*call) for name, call in to_server().items()}
    steps["d"] = liar(steps["d"])
    outcomes = Network("job", "run", 10.0).run_round(steps, 0)
    assert outcomes[SERVER].result is not None
    assert is_sum_of(outcomes[SERVER].result, set(NAMES) - {"d"})
    assert any("d in phase 'masked'" in told and "bytes" in told for told in team.told[SERVER])


def test_settings_with_which_a_sum_of_so_many_could_overflow_are_refused() -> None:
    team = Team(SecaggConfig(value_bits=30))
    outcomes = team.play(to_server())
    assert isinstance(outcomes["a"].error, ConfigError)
    assert outcomes["a"].sent_bytes == 0


def test_what_follows_a_sum_is_waited_for_as_long_as_its_receiver_may_take() -> None:
    """The server waits nine deadlines for the last word of a silent site, the others for its."""
    team, heard = Team(), {}

    def then_listen(name: str, steps: Steps[Total]) -> Any:
        from fedefm.train.exchange import Exchange

        total = yield from steps
        word = {"x": torch.zeros(1)}
        server = name == SERVER
        inbox = yield Exchange(
            "model",
            dict.fromkeys(NAMES, word) if server else {},
            frozenset() if server else frozenset({SERVER}),
            {"x": torch.Size([1])},
            total.next_step,
        )
        heard[name] = SERVER in inbox

    steps = {name: then_listen(name, team.sums[name](*call)) for name, call in to_server().items()}
    lose = Faults(lose=lambda h: h.sender == "a" and h.phase in ("sum/unmask", "model"))
    Network("job", "run", 10.0, lose).run_round(steps, 0)
    assert all(heard[name] for name in NAMES)


@pytest.mark.parametrize("parties", [2, 33, 256])
@pytest.mark.parametrize("compact", [False, True])
def test_the_largest_loss_that_is_told_fits_the_ring_of_any_run(
    compact: bool, parties: int
) -> None:
    ring = ring_for(SecaggConfig(compact=compact), parties, counts=True)
    part = round_part(RoundStats(loss=1e9), 0, 0, 1)
    ring.check(part.numpy())
    assert part.max() == round(MOST / UNIT)


def test_as_many_must_help_as_the_colluders_demand() -> None:
    """Against three who help a receiver that lies, all five must be there."""
    lose = Faults(lose=lambda h: h.sender == "a" and h.phase == "sum/masked")
    opened = Team(SecaggConfig(colluders=1)).play(to_server(), lose)[SERVER].result
    assert opened.members == tuple("bcde")
    team = Team(SecaggConfig(colluders=3))
    assert team.play(to_server(), lose)[SERVER].result.members == ()
    assert any("5 of 5 must help" in told for told in team.told[SERVER])


def test_where_all_must_be_there_no_other_sum_is_opened_but_of_counts() -> None:
    lose = Faults(lose=lambda h: h.sender == "a" and h.phase.endswith("/masked"))
    team = Team(whole=True)
    assert team.play(to_server(), lose)[SERVER].result.members == ()
    assert any("demands 4 others" in told for told in team.told["b"])
    assert team.play(to_server())[SERVER].result.members == NAMES
    counts = Occasion(0, "metrics", LENGTH, counts=True)
    told = Team(whole=True).play(to_server(counts), lose)[SERVER].result
    assert told.members == tuple("bcde")


@pytest.mark.parametrize("receivers", [("server", "server"), ("a",)])
def test_two_parts_for_one_receiver_or_one_for_oneself_are_refused(
    receivers: tuple[str, ...],
) -> None:
    parts = {
        Cohort(receiver, frozenset("abcde"[: 5 - k]) - {receiver}): part_of("a")
        for k, receiver in enumerate(receivers)
    }
    outcome = Team().play({"a": (OCCASION, parts, None)})["a"]
    assert isinstance(outcome.error, ProtocolError)
    assert outcome.sent_bytes == 0
