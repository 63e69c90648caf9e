"""A receiver and its members together: sums that come out, and how each single fault ends."""

import json
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import PrivacyError, ProtocolError, SumAborted
from privacy.secagg import sealing
from privacy.secagg.memory import Memory
from privacy.secagg.plan import PHASES
from privacy.secagg.steps import Packet, canonical
from tests.privacy.secagg.driver import NAMES, RECEIVER, Cast, Network, cast, exact_sum
from tests.privacy.secagg.faults import CHANGES, FalseDealers, FaultyNetwork, earlier_attempt

FIRST, SECOND, THIRD = NAMES[:3]


def require_sum_over(plan: Cast, network: Network, members: list[str]) -> None:
    """That the sum is exactly that of ``members``."""
    rounded = plan.rounded()
    opened = plan.run(network).opened
    assert opened.members == tuple(members)
    np.testing.assert_array_equal(opened.total, exact_sum(plan.ring, rounded, opened.members))


@given(
    st.integers(2, 8),
    st.integers(0, 40),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
def test_without_faults_the_sum_is_exactly_that_of_all(
    size: int, length: int, compact: bool, joins: bool, colluders: int
) -> None:
    plan = cast(size, length=length, compact=compact, joins=joins, colluders=colluders)
    require_sum_over(plan, FaultyNetwork({}), NAMES[:size])
    assert plan.told == []


def test_the_sum_is_near_that_of_the_inputs() -> None:
    plan = cast(6, length=5000)
    truth = np.sum([x.astype(np.float64) for x in plan.parts.values()], axis=0)
    total = plan.run().opened.total
    assert np.linalg.norm(total - truth) / np.linalg.norm(truth) < 1e-6


def test_a_vector_of_many_blocks_comes_out_whole() -> None:
    plan = cast(4, length=100_003, compact=True)
    require_sum_over(plan, FaultyNetwork({(4, SECOND): "gone"}), [FIRST, THIRD, NAMES[3]])


def test_each_phase_goes_one_way_and_nine_packets_are_all() -> None:
    plan = cast(3)
    sent = plan.run().sent
    for step, sender, addressee, _ in sent:
        assert (sender == RECEIVER) == bool(step % 2), (sender, addressee)
    for name in NAMES[:3]:
        assert [step for step, *link, _ in sent if name in link] == list(range(9))


def test_masked_vectors_travel_in_the_rings_own_size_and_look_random() -> None:
    for compact, size in ((False, 4), (True, 3)):
        plan = cast(3, length=20_000, compact=compact)
        vectors = [
            packet.vector for _, _, _, packet in plan.run().sent if packet.vector is not None
        ]
        for vector in vectors:
            assert len(vector) == 20_000 * size
            assert abs(np.unpackbits(vector).mean() - 0.5) < 0.01


@pytest.mark.parametrize("step", range(0, 9, 2))
@pytest.mark.parametrize("fault", ["gone", "garbage", "late", "resigns", "wrong types"])
def test_who_fails_in_any_phase_is_named_and_the_others_have_their_sum(
    step: int, fault: str
) -> None:
    plan = cast(5)
    left = [FIRST, *NAMES[2:5]] if step <= 4 else NAMES[:5]
    require_sum_over(plan, FaultyNetwork({(step, SECOND): fault}), left)
    assert any(told.startswith(f"{SECOND} in phase {PHASES[step]!r}: ") for told in plan.told)


@pytest.mark.parametrize("step", range(1, 9, 2))
def test_who_hears_nothing_ends_with_the_receivers_name(step: int) -> None:
    plan = cast(5)
    ended = plan.run(FaultyNetwork({(step, SECOND): "silent"}))
    assert set(ended.errors) == {SECOND}
    assert f"{RECEIVER} in phase {PHASES[step]!r}: nothing arrived in time" in str(
        ended.errors[SECOND]
    )
    assert (SECOND in ended.opened.members) == (step > 3)


@pytest.mark.parametrize(
    ("step", "fault", "reason"),
    [
        (0, "replayed", "nothing"),  # an advert of an earlier attempt, which its member disowns
        (0, "substituted key", "its signature does not fit"),
        (0, "another's", "its certificate is of"),
        (2, "replayed", "its signature does not fit"),
        (2, "wrong signature", "its signature does not fit"),
        (2, "commitment less", "did not commit to a share for every member"),
        (2, "seal less", "did not seal shares for every other member"),
        (4, "replayed", "shown other dealings"),
        (4, "short vector", "does not have 20 bytes"),
        (4, "no vector", "does not have 20 bytes"),
        (6, "replayed", "its signature does not fit"),
        (6, "another's", "its signature does not fit"),
        (8, "both kinds", "sites that have no place in it"),
    ],
)
def test_each_lie_is_told_with_its_reason(step: int, fault: str, reason: str) -> None:
    plan = cast(5)
    ended = plan.run(FaultyNetwork({(step, SECOND): fault}, earlier_attempt(5)))
    assert RECEIVER in ended.results
    if fault == "replayed" and step == 0:
        assert f"the roster does not hold the advert that {SECOND} sent" in str(
            ended.errors[SECOND]
        )
        return
    (told,) = [sentence for sentence in plan.told if SECOND in sentence]
    assert reason in told


def test_a_wrong_share_is_named_and_the_right_ones_open_the_sum() -> None:
    plan = cast(5)
    network = FaultyNetwork({(8, SECOND): "wrong share", (4, THIRD): "gone"})
    # Four good holders are left for the threshold of four, less the one who lies.
    plan.context = replace(plan.context, colluders=0)
    require_sum_over(plan, network, [FIRST, SECOND, *NAMES[3:5]])
    told = [sentence for sentence in plan.told if "is wrong; unused" in sentence]
    assert len(told) == 5
    assert all(sentence.startswith(f"{SECOND} in phase 'unmask'") for sentence in told)


def test_a_seal_that_does_not_open_is_told_and_the_sum_goes_on() -> None:
    plan = cast(5)
    require_sum_over(plan, FaultyNetwork({(2, SECOND): "wrong seal"}), NAMES[:5])
    assert [told for told in plan.told if "sealed share does not open" in told]
    assert plan.told[0].startswith(f"{SECOND} in phase 'deal', or {RECEIVER}: ")


def test_a_share_that_does_not_fit_its_commitment_is_told_and_not_used() -> None:
    plan = cast(5)
    false = FalseDealers({id(plan.secrets[SECOND]): "other sealed"})
    with patch.object(sealing, "_seal", false.seal):
        ended = plan.run()
    told = [sentence for sentence in plan.told if "does not fit the commitment" in sentence]
    assert len(told) == 4
    assert f"1 good shares of {SECOND} were released, and opening takes 4" in ended.why


@pytest.mark.parametrize("step", [1, 3])
def test_a_member_whose_own_words_come_back_otherwise_gives_no_vector(step: int) -> None:
    def without_first(at: int, sender: str, addressee: str, packet: Packet) -> Packet:
        if (at, addressee) != (step, FIRST):
            return packet
        content = json.loads(packet.payload)
        del content["adverts" if step == 1 else "dealings"][FIRST]
        return Packet(canonical(content))

    ended = cast(5).run(without_first)
    reason = {
        1: f"the roster does not hold the advert that {FIRST} sent",
        3: f"the dealing of {FIRST} is not among them as it was sent",
    }
    assert reason[step] in str(ended.errors[FIRST])
    assert vectors(ended.sent, FIRST) == []


@pytest.mark.parametrize("step", [0, 2, 4])
def test_with_fewer_than_the_threshold_all_end_at_once_and_know_why(step: int) -> None:
    plan = cast(5)  # four must help
    ended = plan.run(FaultyNetwork({(step, FIRST): "gone", (step, SECOND): "gone"}))
    assert not ended.results
    assert "3 members are left (site-03, site-04, site-05), and 4 of 5" in ended.why
    for name in NAMES[2:5]:
        assert "it gave the sum up: 3 members are left" in str(ended.errors[name])
    assert max(at for at, sender, *_ in ended.sent if sender not in (FIRST, SECOND)) == step + 1


def test_the_receiver_hears_at_once_who_gives_up() -> None:
    plan = cast(5)
    ended = plan.run(FaultyNetwork({(3, SECOND): "dealing less"}))
    assert any("it gave the sum up" in told for told in plan.told)
    assert SECOND not in ended.opened.members


@pytest.mark.parametrize("fault", sorted(CHANGES))
def test_no_packet_from_the_receiver_makes_a_member_fail_otherwise(fault: str) -> None:
    for step in range(1, 9, 2):
        plan = cast(3)
        ended = plan.run(FaultyNetwork({(step, SECOND): fault}))
        error = ended.errors.get(SECOND)
        assert error is None or type(error) is SumAborted


def test_whatever_ends_a_member_it_keeps_no_secrets() -> None:
    plan = cast(4)
    plan.run(FaultyNetwork({(5, SECOND): "garbage", (1, THIRD): "silent"}))
    for secrets in plan.secrets.values():
        assert secrets.held == {}
        assert not {"keys", "seed", "rounding_key"} & set(vars(secrets))


def test_a_session_that_is_closed_keeps_no_secrets_either() -> None:
    plan = cast(4)
    session = plan.member(FIRST)
    next(session)
    session.close()
    assert not {"keys", "seed", "rounding_key"} & set(vars(plan.secrets[FIRST]))


def test_no_error_keeps_hold_of_what_the_functions_worked_on() -> None:
    plan = cast(4)
    error: BaseException | None = plan.run(FaultyNetwork({(5, SECOND): "garbage"})).errors[SECOND]
    assert error is not None
    assert (error.__context__, error.__cause__) == (None, None)
    secret = {"pairs", "plus", "minus", "masked", "key_share", "seed_share"}
    trace = error.__traceback__
    while trace is not None:
        assert not secret & set(trace.tb_frame.f_locals)
        trace = trace.tb_next


# ---------------------------------------------------------------- crashes and new attempts


def vectors(ended_sent: list[tuple[int, str, str, Packet]], name: str) -> list[bytes]:
    return [
        packet.vector.tobytes()
        for _, sender, _, packet in ended_sent
        if sender == name and packet.vector is not None
    ]


def test_a_new_attempt_has_new_keys_and_the_next_number() -> None:
    first = cast(4)
    before = first.run(FaultyNetwork({(4, SECOND): "gone", (4, THIRD): "gone"}))
    assert RECEIVER in before.errors
    again = cast(4, memories=first.memories)
    rounded = again.rounded()
    after = again.run()
    np.testing.assert_array_equal(
        after.opened.total, exact_sum(again.ring, rounded, after.opened.members)
    )
    assert {after.results[name].attempt for name in NAMES[:4]} == {2}
    for name in NAMES[:4]:
        difference = np.bitwise_xor(
            *(np.frombuffer(vectors(ended.sent, name)[0], np.uint8) for ended in (before, after))
        )
        assert np.count_nonzero(difference) > len(difference) / 2


def test_members_with_different_counts_still_sum() -> None:
    plan = cast(3)
    plan.memories[FIRST].claim(plan.context.key, 41)
    ended = plan.run()
    assert [ended.results[name].attempt for name in NAMES[:3]] == [42, 1, 1]


def test_a_member_that_dies_between_claim_and_sending_starts_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Died(Exception):
        pass

    def dies(self: Memory, context_key: str, attempt: int) -> None:
        claim(self, context_key, attempt)
        if self is plan.memories[FIRST]:
            raise Died

    plan, claim = cast(3), Memory.claim
    with monkeypatch.context() as patched:
        patched.setattr(Memory, "claim", dies)
        with pytest.raises(Died):
            plan.run()
    again = cast(3, memories=plan.memories)
    ended = again.run()
    assert [ended.results[name].attempt for name in NAMES[:3]] == [2, 1, 1]


def test_a_restored_advert_cannot_be_used_a_second_time() -> None:
    """The number was claimed by another process of the site between advert and vector."""
    plan = cast(3)

    def claimed_meanwhile(step: int, sender: str, addressee: str, packet: Packet) -> Packet:
        if (step, addressee) == (3, FIRST):
            plan.memories[FIRST].claim(plan.context.key, 1)
        return packet

    ended = plan.run(claimed_meanwhile)
    assert type(ended.errors[FIRST]) is PrivacyError
    assert "attempt 1 at the sum" in str(ended.errors[FIRST])
    assert vectors(ended.sent, FIRST) == []
    assert any("its memory of secure sums does not let it go on" in told for told in plan.told)


def test_bad_input_is_refused_before_anything_is_sent() -> None:
    for value in (np.nan, np.inf, -np.inf, 8.5):
        plan = cast(3)
        plan.parts[FIRST][2] = value
        with pytest.raises(ProtocolError) as raised:
            next(plan.member(FIRST))
        assert type(raised.value) is ProtocolError
