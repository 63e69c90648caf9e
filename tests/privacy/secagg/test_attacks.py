"""Attacks on sums from the literature: refused here, and shown to work where nothing refuses them.

The numbers are those of the attacks in the threat model: what the plain exchange, or a protocol
with one guard less, gives away to a receiver that lies.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedefm.errors import PolicyRefused, PrivacyError
from fedefm.train.exchange import Cohort, Occasion, plain_sum
from privacy.identity import Identity, ProjectRoot, ThrowAwayRoot
from privacy.secagg import shares
from privacy.secagg.advert import make_advert
from privacy.secagg.keys import pair_mask_key, self_mask_key
from privacy.secagg.masks import add_streams, mask_input
from privacy.secagg.memory import Memory
from privacy.secagg.ring import Ring
from privacy.secagg.session_secrets import SessionSecrets
from privacy.secagg.transcript import Transcript
from tests.privacy.secagg.adversary import (
    Adversary,
    Helper,
    Wire,
    released,
    streams_of,
    unmasked,
)
from tests.privacy.secagg.driver import (
    IDENTITIES,
    NAMES,
    RECEIVER,
    Cast,
    cast,
    honest,
)
from tests.privacy.secagg.driver import run as run_sessions

Vector = NDArray[np.float32]
VICTIM = NAMES[0]


def plainly(parts: Mapping[str, Vector]) -> Vector:
    """What the plain exchange gives to its receiver."""
    length = len(next(iter(parts.values())))
    own = Cohort(RECEIVER, frozenset(parts))
    session = plain_sum(Occasion(1, "sum", length), {}, own)
    next(session)
    try:
        session.send({name: {"vector": torch.from_numpy(parts[name])} for name in parts})
    except StopIteration as finished:
        total: Vector = finished.value.vector.numpy()
        return total
    raise AssertionError("a plain sum has one exchange")


def near(found: Vector, truth: Vector, ring: Ring, quanta: int = 2) -> bool:
    """Is it the victim's vector, but for its rounding?"""
    return bool(np.abs(found - truth).max() <= quanta * ring.quantum)


def facing(stage: Cast, names: Iterable[str] | None = None) -> Adversary:
    """Members of ``stage``, all honest, with nobody but the adversary to talk to."""
    chosen = stage.context.members if names is None else names
    return Adversary({name: Wire(stage.member(name)) for name in chosen})


def nobody_sent_a_vector(adversary: Adversary) -> bool:
    return not any(wire.gave_its_vector for wire in adversary.wires.values())


# ---------------------------------------------------------------- different models per member


def an_update(weights: Vector, bias: float, images: NDArray[np.float32]) -> Vector:
    """The gradient of one unit, ``relu(weights . image + bias)``: none where the unit is dead."""
    alive = images @ weights + np.float32(bias) > 0
    return np.asarray((images * alive[:, None]).mean(axis=0), dtype=np.float32)


def updates_of_a_victim_among_the_dead(names: Iterable[str]) -> dict[str, Vector]:
    """The receiver handed a model to the victim, and one that cannot fire to all others."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=6).astype(np.float32)
    images = {name: rng.uniform(0, 1, (4, 6)).astype(np.float32) for name in names}
    return {
        name: an_update(weights, 9.0 if name == VICTIM else -99.0, images[name]) for name in names
    }


def test_a_dead_model_for_all_others_exposes_the_victim_in_a_plain_sum() -> None:
    updates = updates_of_a_victim_among_the_dead(NAMES[:5])
    assert np.abs(updates[VICTIM]).max() > 0.1
    np.testing.assert_array_equal(plainly(updates), updates[VICTIM])


def test_a_dead_model_for_all_others_exposes_the_victim_where_models_are_not_agreed_on() -> None:
    stage = cast(5, agreed="", length=6)
    stage.parts = updates_of_a_victim_among_the_dead(NAMES[:5])
    ended = stage.run()
    assert near(ended.opened.total, stage.parts[VICTIM], stage.ring)


def test_nobody_masks_a_vector_for_a_receiver_that_hands_out_different_models() -> None:
    stage = cast(5, agreed="dead model", length=6)
    alive = replace(stage.context, agreed="model")
    wires = {name: Wire(stage.member(name)) for name in NAMES[1:5]}
    adversary = Adversary({VICTIM: Wire(stage.member(VICTIM, alive)), **wires})
    answers = adversary.show_roster()
    assert nobody_sent_a_vector(adversary)
    assert f"{NAMES[1]}: it trained another model" in answers[VICTIM]["abort"]
    for name in wires:
        assert f"{VICTIM}: it trained another model: it holds 'model'" in answers[name]["abort"]


def test_a_receiver_cannot_say_for_a_member_which_model_it_holds() -> None:
    stage = cast(5, agreed="dead model")
    alive = replace(stage.context, agreed="model")
    wires = {name: Wire(stage.member(name)) for name in NAMES[1:5]}
    adversary = Adversary({VICTIM: Wire(stage.member(VICTIM, alive)), **wires})
    adversary.adverts[VICTIM]["agreed"] = "dead model"
    for name in wires:
        answer = wires[name].tell({"adverts": adversary.adverts})
        assert f"{VICTIM}: its signature does not fit" in answer["abort"]


# ---------------------------------------------------------------- masks used twice


def up_to_its_vector(stage: Cast) -> Adversary:
    """A session that breaks off once the receiver has all masked vectors."""
    adversary = facing(stage)
    adversary.show_roster()
    adversary.show_dealings()
    return adversary


def difference(first: Adversary, second: Adversary, ring: Ring) -> Vector:
    """What the receiver learns of the victim's two vectors if their masks are the same."""
    vectors = [ring.unpack(one.masked(VICTIM).vector) for one in (first, second)]  # type: ignore
    return ring.decode(vectors[0] - vectors[1])


def test_masks_that_are_used_twice_give_away_how_an_input_changed() -> None:
    stage = cast(4, length=50)
    x, later = stage.parts[VICTIM], stage.parts[NAMES[1]]
    keys = [bytes([number]) * 32 for number in range(4)]
    masked = [mask_input(vector, stage.ring, keys[:2], keys[2:3], keys[3]) for vector in (x, later)]
    assert near(stage.ring.decode(masked[0] - masked[1]), x - later, stage.ring)
    assert not near(stage.ring.decode(masked[0]), x, stage.ring, 2**16)


@pytest.mark.parametrize("secrets", ["fresh", "cloned"])
def test_a_member_that_crashed_and_starts_again_masks_anew(tmp_path: Path, secrets: str) -> None:
    paths = {name: tmp_path / f"{name}.sqlite" for name in NAMES[:4]}
    kept = {name: SessionSecrets.fresh() for name in NAMES[:4]}
    stages = []
    for seed in (1, 2):
        memories = {name: Memory(paths[name]) for name in paths}
        stage = cast(4, length=200, seed=seed, memories=memories)
        if secrets == "cloned":  # a machine that was copied together with its random numbers
            stage.secrets = {name: replace(kept[name], held={}) for name in kept}
        stages.append((stage, up_to_its_vector(stage)))
    (stage, first), (second_stage, second) = stages
    changed = stage.parts[VICTIM] - second_stage.parts[VICTIM]
    found = difference(first, second, stage.ring)
    assert not near(found, changed, stage.ring, 2**16)
    assert np.abs(np.corrcoef(found, changed)[0, 1]) < 0.5
    attempts = [one.adverts[VICTIM]["attempt"] for one in (first, second)]
    assert attempts == [1, 2]


def test_a_roster_of_an_earlier_attempt_is_refused() -> None:
    memories = {name: Memory(None) for name in NAMES[:4]}
    first = up_to_its_vector(cast(4, memories=memories))
    again = facing(cast(4, memories=memories))
    answer = again.wires[VICTIM].tell({"adverts": first.adverts})
    assert f"the roster does not hold the advert that {VICTIM} sent" in answer["abort"]


def test_old_keys_of_the_others_lead_to_no_vector() -> None:
    memories = {name: Memory(None) for name in NAMES[:4]}
    old = up_to_its_vector(cast(4, memories=memories))
    again = facing(cast(4, memories=memories), [VICTIM])
    again.adverts = {**old.adverts, **again.adverts}
    again.dealt = {**old.dealt, **again.show_roster()}
    answer = again.show_dealings()[VICTIM]
    assert f"{NAMES[1]}: its signature does not fit" in answer["abort"]
    assert nobody_sent_a_vector(again)


def test_an_attempt_that_was_used_sends_no_vector_whoever_forgot_to_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memories = {name: Memory(None) for name in NAMES[:4]}
    up_to_its_vector(cast(4, memories=memories))
    monkeypatch.setattr(Memory, "next_attempt", lambda self, context_key: 1)
    again = up_to_its_vector(cast(4, memories=memories))
    assert nobody_sent_a_vector(again)
    for wire in again.wires.values():
        assert isinstance(wire.error, PrivacyError)
        assert "attempt 1" in str(wire.error)


# ---------------------------------------------------------------- cohorts too small, and sybils


def test_sites_that_give_nothing_expose_the_victim_in_a_plain_sum() -> None:
    x = cast(5).parts[VICTIM]
    parts = {name: x if name == VICTIM else np.zeros_like(x) for name in NAMES[:5]}
    np.testing.assert_array_equal(plainly(parts), x)


def test_a_plan_with_too_few_others_gets_nothing_at_all() -> None:
    stage = cast(3, min_cohort=3)
    with pytest.raises(PolicyRefused, match=r"demands 3 others besides itself.*plan a larger"):
        Wire(stage.member(VICTIM))


@pytest.mark.parametrize("joins", [False, True])
def test_a_sum_of_one_is_refused_whatever_the_policy(joins: bool) -> None:
    with pytest.raises(PolicyRefused, match="a sum of one hides nothing"):
        Wire(cast(1, min_cohort=0, joins=joins).member(VICTIM))


@pytest.mark.parametrize("phase", ["roster", "deal", "members"])
def test_a_receiver_cannot_lose_the_others_on_the_way(phase: str) -> None:
    stage = cast(8, min_cohort=6)  # the threshold is 5, and the policy wants 7 in the sum
    adversary, few = facing(stage), NAMES[:6]
    answers = adversary.show_roster(few if phase == "roster" else None)
    if phase != "roster":
        answers = adversary.show_dealings(few if phase == "deal" else None)
    if phase == "members":
        answers = adversary.show_members(dict.fromkeys(few, few))
    for name in few:
        assert "the site's min_cohort demands 6 others" in answers[name]["abort"]
        assert adversary.wires[name].gave_its_vector == (phase == "members")


def sybils(stage: Cast, identities: Mapping[str, Identity]) -> dict[str, Any]:
    """Adverts in the names of all others, of keys that the receiver made."""
    return {
        name: make_advert(
            replace(identities[name], name=name), stage.context, 1, SessionSecrets.fresh().keys
        ).to_json()
        for name in stage.context.members
        if name != VICTIM
    }


@pytest.mark.parametrize(
    ("whose", "reason"),
    [
        ("its own root", "its certificate was not issued by this project's root itself"),
        ("one site that helps", f"its certificate is of '{NAMES[4]}'"),
    ],
)
def test_sites_that_the_receiver_made_up_are_refused_by_name(whose: str, reason: str) -> None:
    stage, own = cast(5), ThrowAwayRoot()
    made_up = {
        name: own.issue(name) if whose == "its own root" else IDENTITIES[NAMES[4]]
        for name in NAMES[:5]
    }
    adversary = facing(stage, [VICTIM])
    answer = adversary.wires[VICTIM].tell({"adverts": adversary.adverts | sybils(stage, made_up)})
    assert f"{NAMES[1]}: {reason}" in answer["abort"]


def test_sites_beyond_the_plan_are_refused_though_they_have_certificates() -> None:
    stage = cast(4)
    stranger = make_advert(IDENTITIES[NAMES[7]], stage.context, 1, SessionSecrets.fresh().keys)
    adversary = facing(stage)
    adversary.adverts[NAMES[7]] = stranger.to_json()
    for answer in adversary.show_roster().values():
        assert "lists sites that were not planned" in answer["abort"]


# ---------------------------------------------------------------- active and dead at once


def both_shares_of_the_victim(colluders: int) -> tuple[Cast, Adversary, Helper, dict[str, Any]]:
    """The victim's vector arrived, says the receiver to two; it did not, it says to two others.

    The fifth member helps the receiver: it consents to both, and releases both shares.
    """
    stage = cast(5, colluders=colluders)
    context, (_, second, third, fourth, fifth) = stage.context, NAMES[:5]
    helper = Helper(IDENTITIES[fifth], context)
    adversary = facing(stage, NAMES[:4])
    adversary.adverts[fifth] = helper.advert
    for name, wire in adversary.wires.items():
        adversary.dealt[name] = wire.tell({"adverts": adversary.adverts})
    roster, _ = adversary.seen(context)
    adversary.dealt[fifth] = helper.deal(roster)
    adversary.show_dealings(NAMES[:5])
    _, dealings = adversary.seen(context)
    helper.hold(dealings, adversary.sealed(fifth, NAMES[:5]), roster)
    all_of_them, without = tuple(NAMES[:5]), tuple(NAMES[1:5])
    views = {VICTIM: all_of_them, second: all_of_them, third: without, fourth: without}
    consents = adversary.show_members(views)
    answers = {}
    for name, view in views.items():
        signatures = {other: consents[other]["signature"] for other in views if other in view}
        signatures[fifth] = helper.consent(Transcript(roster, dealings, view))["signature"]
        answers[name] = adversary.wires[name].tell({"signatures": signatures})
    return stage, adversary, helper, answers


def test_with_too_low_a_threshold_both_shares_of_one_member_expose_it() -> None:
    stage, adversary, helper, answers = both_shares_of_the_victim(colluders=0)
    roster, dealings = adversary.seen(stage.context)
    of_helper = helper.secrets.held[VICTIM]
    seed = shares.combine([*released(answers, "seed", VICTIM, roster), of_helper[0]], 3)
    private = shares.combine([*released(answers, "key", VICTIM, roster), of_helper[1]], 3)
    streams = streams_of(VICTIM, seed, private, roster, dealings)
    found = unmasked(adversary.masked(VICTIM), stage.ring, *streams)
    assert near(found, stage.parts[VICTIM], stage.ring)


def test_nobody_helps_to_open_a_sum_that_others_were_shown_differently() -> None:
    _, adversary, _, answers = both_shares_of_the_victim(colluders=1)
    for answer in answers.values():
        assert set(answer) == {"abort"}
        assert "3 members signed what was seen here, and it takes 4" in answer["abort"]
    assert all("demands" not in str(wire.error) for wire in adversary.wires.values())


def test_nobody_helps_to_open_a_sum_of_which_others_were_shown_other_dealings() -> None:
    adversary = facing(cast(5))
    adversary.show_roster()
    adversary.show_dealings(NAMES[:5], to=NAMES[1:3])
    adversary.show_dealings(NAMES[1:5], to=NAMES[3:5])
    for answer in adversary.ask_to_open(NAMES[1:5]).values():
        assert "2 members signed what was seen here, and it takes 4" in answer["abort"]


def test_consents_that_the_receiver_makes_up_count_for_nothing() -> None:
    stage = cast(5)
    adversary = up_to_its_vector(stage)
    adversary.show_members(dict.fromkeys(NAMES[:5], NAMES[:5]))
    transcript = Transcript(*adversary.seen(stage.context), tuple(NAMES[:5]))
    forgers = [ThrowAwayRoot().issue(NAMES[1]), IDENTITIES[NAMES[1]], IDENTITIES[NAMES[7]]]
    for name, forger in zip([VICTIM, *NAMES[2:4]], forgers, strict=True):
        made_up = json.loads(transcript.sign(forger))["signature"]
        signatures = dict.fromkeys(NAMES[:5], made_up)
        answer = adversary.wires[name].tell({"signatures": signatures})
        count = 1 + (forger is IDENTITIES[NAMES[1]])  # its own, and the one that is genuine
        assert f"{count} members signed what was seen here, and it takes 4" in answer["abort"]


def test_a_vector_that_is_said_to_have_been_late_stays_masked() -> None:
    stage = cast(5)
    adversary = up_to_its_vector(stage)
    answers = adversary.ask_to_open(NAMES[1:5])
    roster, dealings = adversary.seen(stage.context)
    assert released(answers, "seed", VICTIM, roster) == []
    private = shares.combine(released(answers, "key", VICTIM, roster), 4)
    (_, *plus), minus = streams_of(VICTIM, bytes(32), private, roster, dealings)
    found = unmasked(adversary.masked(VICTIM), stage.ring, plus, minus)
    assert not near(found, stage.parts[VICTIM], stage.ring, 2**16)


def test_after_a_sum_was_opened_no_single_vector_is_bare() -> None:
    stage = cast(5, length=20)
    adversary = up_to_its_vector(stage)
    answers = adversary.ask_to_open(NAMES[:5])
    roster, _ = adversary.seen(stage.context)
    for name in NAMES[:5]:
        assert released(answers, "key", name, roster) == []
        seed = shares.combine(released(answers, "seed", name, roster), 4)
        own_mask = [self_mask_key(seed, roster.session)]
        found = unmasked(adversary.masked(name), stage.ring, own_mask, [])
        assert not near(found, stage.parts[name], stage.ring, 2**16)


@pytest.mark.parametrize("size", range(2, 13))
@pytest.mark.parametrize("colluders", [0, 1, 2])
def test_two_transcripts_never_find_enough_signatures(size: int, colluders: int) -> None:
    members = tuple(f"{number:02}" for number in range(size))
    context = replace(cast(2).context, members=members, colluders=colluders)
    honest_ones = size - colluders
    if honest_ones < 1 or colluders >= context.threshold:
        return
    for here in range(honest_ones + 1):  # who is told the one, and the others the other
        signatures = (here + colluders, honest_ones - here + colluders)
        assert min(signatures) < context.threshold


def test_a_member_is_asked_once_and_never_for_both_shares() -> None:
    adversary = up_to_its_vector(cast(4))
    for name, answer in adversary.ask_to_open(NAMES[:3]).items():
        assert set(answer["seed"]) == set(NAMES[:3])
        assert set(answer["key"]) == {NAMES[3]}
        assert adversary.wires[name].result is not None  # the session is over; nobody is listening


def test_who_is_said_to_have_dropped_gives_nothing_more() -> None:
    adversary = up_to_its_vector(cast(4))
    answer = adversary.show_members({VICTIM: NAMES[1:4]})[VICTIM]
    assert f"it counts {VICTIM} as dropped" in answer["abort"]


# ---------------------------------------------------------------- a relay in the middle


class Gullible(ProjectRoot):
    """A root that takes everybody for who they say they are."""

    def verify(self, name: str, certificate: bytes, signature: bytes, data: bytes) -> None:
        return None


def everybody_else(
    stage: Cast, root: ProjectRoot
) -> tuple[Adversary, dict[str, Helper], dict[str, Any]]:
    """The receiver in the place of all others; what the victim says to its keys."""
    forger = ThrowAwayRoot()
    others = {name: Helper(forger.issue(name), stage.context) for name in stage.context.members[1:]}
    stage.root = root
    adversary = facing(stage, [VICTIM])
    adversary.adverts |= {name: others[name].advert for name in others}
    return adversary, others, adversary.wires[VICTIM].tell({"adverts": adversary.adverts})


def test_a_relay_that_puts_its_keys_in_everybodys_place_learns_all_where_nobody_checks() -> None:
    stage = cast(5)
    adversary, others, dealt = everybody_else(stage, Gullible(stage.root.certificate))
    adversary.dealt[VICTIM] = dealt
    roster, _ = adversary.seen(stage.context)
    adversary.dealt |= {name: others[name].deal(roster) for name in others}
    adversary.show_dealings([VICTIM, *others])
    _, dealings = adversary.seen(stage.context)
    for name in others:
        others[name].hold(dealings, {VICTIM: adversary.sealed(name, [VICTIM])[VICTIM]}, roster)
    seed = shares.combine([others[name].secrets.held[VICTIM][0] for name in others], 4)
    plus, minus = [self_mask_key(seed, roster.session)], []
    for name in others:  # the other end of each pairwise mask is the relay's
        private, public = others[name].secrets.keys.mask_private, roster.adverts[VICTIM].mask_key
        key = pair_mask_key(private, public, roster.session, name, VICTIM)
        (plus if name > VICTIM else minus).append(key)
    found = unmasked(adversary.masked(VICTIM), stage.ring, plus, minus)
    assert near(found, stage.parts[VICTIM], stage.ring)


def test_a_relay_that_puts_its_keys_in_everybodys_place_is_refused_by_name() -> None:
    stage = cast(5)
    adversary, _, answer = everybody_else(stage, stage.root)
    assert f"{NAMES[1]}: its certificate was not issued by this project's root" in answer["abort"]
    assert len(adversary.wires[VICTIM].said) == 2  # its advert, and that it gave up


@pytest.mark.parametrize("kept", ["certificate", "certificate and signature"])
@pytest.mark.parametrize("key", ["mask_key", "cipher_key"])
def test_one_substituted_key_is_refused_with_the_sites_name(kept: str, key: str) -> None:
    stage = cast(4)
    relays = SessionSecrets.fresh().keys
    forged = replace(ThrowAwayRoot().issue(NAMES[2]), certificate=IDENTITIES[NAMES[2]].certificate)
    adversary = facing(stage)
    if kept == "certificate":
        adversary.adverts[NAMES[2]] = make_advert(forged, stage.context, 1, relays).to_json()
    else:
        adversary.adverts[NAMES[2]][key] = getattr(relays, key.replace("key", "public")).hex()
    answers = adversary.show_roster()
    for name in (VICTIM, NAMES[1], NAMES[3]):
        assert f"{NAMES[2]}: its signature does not fit" in answers[name]["abort"]
    assert f"does not hold the advert that {NAMES[2]} sent" in answers[NAMES[2]]["abort"]


def test_a_key_that_was_signed_for_another_round_is_refused() -> None:
    stage = cast(4)
    earlier = replace(stage.context, round=stage.context.round - 1)
    adversary = facing(stage)
    old = make_advert(IDENTITIES[NAMES[1]], earlier, 1, SessionSecrets.fresh().keys)
    adversary.adverts[NAMES[1]] = old.to_json()
    assert f"{NAMES[1]}: its signature does not fit" in adversary.show_roster()[VICTIM]["abort"]


# ---------------------------------------------------------------- short seeds, weak generators

KEY = hashlib.sha256(b"what two sites share").digest()
WORDS = 624  # of the state of a Mersenne Twister


def folded(key: bytes) -> int:
    """256 bits to 32, as a well-known framework does it: the eight words, exclusive or."""
    return int(np.bitwise_xor.reduce(np.frombuffer(key, "<u4")))


def twisted(seed: int, count: int) -> NDArray[np.uint32]:
    """Its masks: NumPy's Mersenne Twister."""
    drawn = np.random.RandomState(seed).randint(0, 2**32 - 1, count, dtype=np.int64)
    return drawn.astype(np.uint32)


def our_stream(key: bytes, count: int) -> NDArray[np.uint32]:
    words = np.zeros(count, np.uint32)
    add_streams(words, [key], [])
    return words


def untempered(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The state of a Mersenne Twister from so many of its outputs."""
    y = words.astype(np.uint64)
    y ^= y >> 18
    y ^= (y << 15) & 0xEFC60000
    fixed = y.copy()
    for _ in range(5):
        fixed = y ^ ((fixed << 7) & 0x9D2C5680)
    y = fixed
    for _ in range(3):
        fixed = y ^ (fixed >> 11)
    return (fixed & 0xFFFFFFFF).astype(np.uint32)


def predicted(words: NDArray[np.uint32], count: int) -> NDArray[np.uint32]:
    """What follows these 624 words, if a Mersenne Twister made them."""
    twin = np.random.RandomState()
    twin.set_state(("MT19937", untempered(words), WORDS))
    return twin.randint(0, 2**32 - 1, count, dtype=np.int64).astype(np.uint32)


def test_who_knows_624_values_knows_all_behind_a_twisted_mask() -> None:
    ring = Ring.default(4, 8.0)
    x = np.random.default_rng(3).uniform(-2, 2, 2000).astype(np.float32)
    x[:WORDS] = 0  # parameters that were frozen, or padding
    secret = mask_input(x, ring, [], [], bytes(32))
    masked = secret + twisted(folded(KEY), len(x))
    guess = masked[WORDS:] - predicted(masked[:WORDS], len(x) - WORDS)
    assert near(ring.decode(guess), x[WORDS:], ring)
    ours = mask_input(x, ring, [KEY], [], bytes(32))
    guess = ours[WORDS:] - predicted(ours[:WORDS], len(x) - WORDS)
    assert np.mean(np.abs(ring.decode(guess) - x[WORDS:]) < 1) < 0.05


def test_a_seed_of_32_bits_is_found_by_trying() -> None:
    ring = Ring.default(4, 8.0)
    x = np.random.default_rng(4).uniform(-2, 2, 20).astype(np.float32)
    seed = folded(KEY)
    masked = mask_input(x, ring, [], [], bytes(32)) + twisted(seed, len(x))
    window = range(seed - 700, seed + 300)  # all 2^32 are hours of one core
    fits = [s for s in window if np.abs(ring.decode(masked - twisted(s, len(x)))).max() <= 8]
    assert fits == [seed]


def test_keys_that_fold_alike_give_unlike_masks() -> None:
    alike = KEY[4:8] + KEY[:4] + KEY[8:]
    assert folded(KEY) == folded(alike)
    np.testing.assert_array_equal(twisted(folded(KEY), 99), twisted(folded(alike), 99))
    assert not np.any(our_stream(KEY, 99) == our_stream(alike, 99))


@pytest.mark.parametrize("bit", [*range(0, 256, 17), 255])
def test_every_bit_of_a_key_counts(bit: int) -> None:
    other = (int.from_bytes(KEY, "big") ^ 1 << bit).to_bytes(32, "big")
    differing = our_stream(KEY, 1000) ^ our_stream(other, 1000)
    share = np.unpackbits(differing.view(np.uint8)).mean()
    assert abs(share - 0.5) < 0.02  # 7 standard deviations of 32,000 coins


# ---------------------------------------------------------------- with and without one site


def without(stage: Cast, name: str) -> Cast:
    """The same sum, planned without one site."""
    members = tuple(other for other in stage.context.members if other != name)
    parts = {other: stage.parts[other] for other in members}
    return replace(
        stage,
        context=replace(stage.context, run_id="again", members=members),
        parts=parts,
        secrets={other: SessionSecrets.fresh() for other in members},
    )


def test_two_plain_sums_with_and_without_a_site_show_what_it_gave() -> None:
    parts = {name: np.round(x * 2**10) / 2**10 for name, x in cast(5).parts.items()}
    rest = {name: parts[name] for name in parts if name != VICTIM}
    np.testing.assert_array_equal(plainly(parts) - plainly(rest), parts[VICTIM])


def test_members_without_memory_show_what_one_of_them_gave() -> None:
    stage = cast(5)
    total = stage.run().opened.total
    again = replace(without(stage, VICTIM), memories={name: Memory(None) for name in NAMES[1:5]})
    found = total - again.run().opened.total
    assert near(found, stage.parts[VICTIM], stage.ring, 20)


@pytest.mark.parametrize("how", ["planned without it", "lost its vector"])
def test_no_second_sum_without_one_site_is_opened(how: str) -> None:
    stage = cast(5)
    assert stage.run().opened.members == tuple(NAMES[:5])
    if how == "planned without it":
        again, network = without(stage, VICTIM), honest
    else:
        secrets = {name: SessionSecrets.fresh() for name in NAMES[:5]}
        again = replace(stage, secrets=secrets)

        def network(step: int, sender: str, addressee: str, packet: Any) -> Any:
            return None if (step, sender) == (4, VICTIM) else packet

    ended = run_sessions(again.sessions(), network)
    assert RECEIVER in ended.errors
    for name in NAMES[1:5]:
        assert f"would show what ['{VICTIM}'] alone gave" in str(ended.errors[name])
    assert all(step < 8 for step, sender, *_ in ended.sent if sender in NAMES)


def test_no_second_sum_of_a_round_is_opened_though_the_input_has_changed() -> None:
    stage = cast(5)
    stage.run()
    nearly = {name: np.nextafter(x, np.float32(9)) for name, x in stage.parts.items()}
    secrets = {name: SessionSecrets.fresh() for name in NAMES[:5]}
    again = replace(stage, secrets=secrets, parts=nearly)

    def network(step: int, sender: str, addressee: str, packet: Any) -> Any:
        return None if (step, sender) == (4, VICTIM) else packet

    ended = run_sessions(again.sessions(), network)
    assert f"would show what ['{VICTIM}'] alone gave" in str(ended.errors[NAMES[1]])
    assert RECEIVER in ended.errors
    assert all(step < 8 for step, sender, *_ in ended.sent if sender in NAMES)


def test_the_same_sum_may_be_opened_again() -> None:
    stage = cast(5)
    totals = [stage.run().opened.total]
    stage.secrets = {name: SessionSecrets.fresh() for name in NAMES[:5]}
    totals.append(stage.run().opened.total)
    assert near(totals[0], totals[1], stage.ring, 10)


# Any two of them differ in two sites, and yet the last site's part is (A - B - C + D) / 2.
FOUR_SETS = [(*NAMES[:6],), (*NAMES[:4],), (*NAMES[:3], NAMES[4]), (*NAMES[:3], NAMES[5])]


def test_four_sums_of_which_no_two_tell_show_what_one_site_gave() -> None:
    stage, totals = cast(6), []
    for members in FOUR_SETS:
        part = replace(
            stage,
            context=replace(stage.context, members=members, colluders=0),
            parts={name: stage.parts[name] for name in members},
            secrets={name: SessionSecrets.fresh() for name in members},
            memories={name: Memory(None) for name in members},  # which forget
        )
        totals.append(part.run().opened.total)
    found = (totals[0] - totals[1] - totals[2] + totals[3]) / 2
    assert near(found, stage.parts[NAMES[5]], stage.ring, 50)


def test_no_more_than_two_sums_of_one_input_are_opened_for_one_receiver() -> None:
    memory = Memory(None)
    mark = memory.fingerprint(np.ones(3, np.float32))
    for members in FOUR_SETS[:2] * 2:  # the same again is no new one
        memory.open("sum", mark, RECEIVER, members, min_cohort=1)
    for members in FOUR_SETS[2:]:
        with pytest.raises(PolicyRefused, match=r"over two different sets .* could be solved"):
            memory.open("next", mark, RECEIVER, members, min_cohort=1)
    zeros = memory.fingerprint(np.zeros(3, np.float32))
    memory.open("next", zeros, RECEIVER, FOUR_SETS[2], min_cohort=1)
    memory.open("other", mark, "another", FOUR_SETS[2], min_cohort=1)


def smallest_difference(sets: list[tuple[str, ...]]) -> int:
    """Of how few sites a weighted sum can be computed from these sums: brute force."""
    rows = np.array([[name in members for name in NAMES[:6]] for members in sets], float)
    least = 6
    for size in range(1, 6):
        for hidden in combinations(range(6), 6 - size):  # columns to cancel
            kernel_is_there = np.linalg.matrix_rank(rows[:, hidden]) < np.linalg.matrix_rank(rows)
            if kernel_is_there:
                least = min(least, size)
    return least


def test_whatever_sums_the_memory_allows_no_few_sites_can_be_solved_out_of_them() -> None:
    rng = np.random.default_rng(8)
    for min_cohort in (1, 2, 3):
        for _ in range(40):
            memory, allowed = Memory(None), list[tuple[str, ...]]()
            mark = memory.fingerprint(np.ones(2, np.float32))
            for _ in range(5):
                size = int(rng.integers(4, 7))
                members = tuple(sorted(rng.choice(NAMES[:6], size, replace=False).tolist()))
                try:
                    memory.open("sum", mark, RECEIVER, members, min_cohort)
                except PolicyRefused:
                    continue
                allowed.append(members)
            assert smallest_difference(allowed) > min_cohort
