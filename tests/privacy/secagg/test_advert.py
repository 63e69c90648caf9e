"""An advert counts for the site that signed it, for one sum, and in one form."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedefm.errors import MessageRejected
from privacy.identity import ThrowAwayRoot
from privacy.secagg.advert import Advert, check_advert, make_advert
from privacy.secagg.context import Context
from privacy.secagg.keys import SessionKeys
from privacy.secagg.steps import canonical

P = 2**255 - 19
ROOT = ThrowAwayRoot()
RING = {"bits": 32, "value_bits": 24, "bound": 8.0, "parties": 4}
CONTEXT = Context("job", "run", 3, "sum", "server", ("a", "b", "c", "d"), False, RING, "model 7")
KEYS = SessionKeys.fresh()
ADVERT = make_advert(ROOT.issue("a"), CONTEXT, 1, KEYS)


@given(st.integers(0, 2**31 - 1), st.text(st.characters(categories=["L", "N"]), max_size=64))
def test_an_advert_arrives_as_it_was_made(attempt: int, agreed: str) -> None:
    context = replace(CONTEXT, agreed=agreed)
    advert = make_advert(ROOT.issue("b"), context, attempt, KEYS)
    back = Advert.from_json("b", json.loads(canonical(advert.to_json())))
    assert back == advert
    check_advert(back, context, ROOT.root)


ALTERED: dict[str, Callable[[Advert], Advert]] = {
    "name": lambda advert: replace(advert, name="b"),
    "agreed": lambda advert: replace(advert, agreed="model 8"),
    "ring": lambda advert: replace(advert, ring={**RING, "bound": 9.0}),
    "attempt": lambda advert: replace(advert, attempt=2),
    "mask_key": lambda advert: replace(advert, mask_key=SessionKeys.fresh().mask_public),
    "cipher_key": lambda advert: replace(advert, cipher_key=SessionKeys.fresh().cipher_public),
    "keys": lambda a: replace(a, mask_key=a.cipher_key, cipher_key=a.mask_key),
    "certificate": lambda advert: replace(advert, certificate=ROOT.issue("b").certificate),
    "signature": lambda a: replace(a, signature=bytes([a.signature[0] ^ 1]) + a.signature[1:]),
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_advert_that_a_relay_altered_is_refused(what: str) -> None:
    check_advert(ADVERT, CONTEXT, ROOT.root)
    wrong = ALTERED[what](ADVERT)
    with pytest.raises(MessageRejected, match=rf"^{wrong.name}: its (certificate|signature)"):
        check_advert(wrong, CONTEXT, ROOT.root)


@pytest.mark.parametrize(
    "change",
    [
        {"job": "other"},
        {"run_id": "other"},
        {"round": 2},
        {"what": "metrics"},
        {"receiver": "d"},
        {"members": ("a", "b", "c")},
        {"joins": True},
    ],
)
def test_an_advert_for_another_sum_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MessageRejected, match=r"^a: its signature does not fit"):
        check_advert(ADVERT, replace(CONTEXT, **change), ROOT.root)


def test_a_site_that_holds_another_model_is_named() -> None:
    behind = make_advert(ROOT.issue("b"), replace(CONTEXT, agreed="model 6"), 1, KEYS)
    with pytest.raises(
        MessageRejected, match=r"^b: it trained another model: it holds 'model 6', .*'model 7'"
    ):
        check_advert(behind, CONTEXT, ROOT.root)


@pytest.mark.parametrize("ring", [{**RING, "bound": 4.0}, {**RING, "bound": 8}, {}])
def test_a_site_that_counts_in_another_ring_is_named(ring: dict[str, Any]) -> None:
    other = make_advert(ROOT.issue("b"), replace(CONTEXT, ring=ring), 1, KEYS)
    with pytest.raises(MessageRejected, match=r"^b: it counts in another ring.*same run file"):
        check_advert(other, CONTEXT, ROOT.root)


def test_who_has_no_certificate_of_this_project_is_named() -> None:
    stranger = make_advert(ThrowAwayRoot().issue("a"), CONTEXT, 1, KEYS)
    with pytest.raises(MessageRejected, match=r"^a: its certificate was not issued"):
        check_advert(stranger, CONTEXT, ROOT.root)


GOOD = ADVERT.to_json()
SLOPPY: dict[str, Any] = {
    "nothing": None,
    "a list": [GOOD],
    "one more": {**GOOD, "more": 1},
    "one less": {name: GOOD[name] for name in GOOD if name != "ring"},
    "agreed no text": {**GOOD, "agreed": 7},
    "agreed endless": {**GOOD, "agreed": "x" * 1025},
    "agreed of two lines": {**GOOD, "agreed": "model 7\n"},
    "agreed no characters": {**GOOD, "agreed": "\ud800"},
    "ring no object": {**GOOD, "ring": [32]},
    "ring nested": {**GOOD, "ring": {"bits": {"of": 32}}},
    "ring endless": {**GOOD, "ring": {"bits": "x" * 2000}},
    "ring no characters": {**GOOD, "ring": {"bits": "\ud800"}},
    "ring no names": {**GOOD, "ring": {"\ud800": 32}},
    "attempt true": {**GOOD, "attempt": True},
    "attempt broken": {**GOOD, "attempt": 1.0},
    "attempt text": {**GOOD, "attempt": "1"},
    "attempt negative": {**GOOD, "attempt": -1},
    "attempt endless": {**GOOD, "attempt": 2**31},
    "key short": {**GOOD, "mask_key": GOOD["mask_key"][2:]},
    "key long": {**GOOD, "cipher_key": GOOD["cipher_key"] + "00"},
    "key in capitals": {**GOOD, "mask_key": "AB" * 32},
    "key in words": {**GOOD, "mask_key": "ab " * 32},
    "key no hex": {**GOOD, "mask_key": "zz" * 32},
    "key a number": {**GOOD, "mask_key": 7},
    "certificate not ASCII": {**GOOD, "certificate": "ä"},
    "certificate endless": {**GOOD, "certificate": "x" * 2**15},
    "certificate no text": {**GOOD, "certificate": None},
    "signature empty": {**GOOD, "signature": ""},
    "signature endless": {**GOOD, "signature": "ab" * 1025},
}


@pytest.mark.parametrize("what", SLOPPY)
def test_an_advert_in_any_other_form_is_refused_by_name(what: str) -> None:
    with pytest.raises(MessageRejected, match=r"^a: .*advert must |^\w+ of a (is no|has) "):
        Advert.from_json("a", SLOPPY[what])


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
VALUES = st.recursive(
    PLAIN, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=9), one)
)


@given(st.sampled_from(sorted(GOOD)), VALUES)
def test_whatever_stands_in_a_field_an_advert_is_refused(name: str, value: Any) -> None:
    assume(value != GOOD[name])
    with pytest.raises(MessageRejected, match=r"^a: |^\w+ of a "):
        check_advert(Advert.from_json("a", {**GOOD, name: value}), CONTEXT, ROOT.root)


@pytest.mark.parametrize("which", ["mask", "cipher"])
@pytest.mark.parametrize("point", [0, 1, P - 1, P, P + 1, P + 9, 2**255, 2**255 + 9])
def test_an_advert_of_a_key_that_is_none_is_refused_though_it_is_signed(
    point: int, which: str
) -> None:
    poor = replace(KEYS, **{f"{which}_public": point.to_bytes(32, "little")})
    with pytest.raises(MessageRejected, match=rf"^a: its {which} key is no key that keeps"):
        check_advert(make_advert(ROOT.issue("a"), CONTEXT, 1, poor), CONTEXT, ROOT.root)


def test_one_key_for_both_ends_is_refused() -> None:
    same = replace(KEYS, cipher_public=KEYS.mask_public)
    with pytest.raises(MessageRejected, match=r"^a: its mask key is its cipher key too"):
        check_advert(make_advert(ROOT.issue("a"), CONTEXT, 1, same), CONTEXT, ROOT.root)


def test_the_digest_of_a_sum_is_sha_256_of_its_canonical_text() -> None:
    content = {"version": "fedefm secure sum 1", "attempt": 1, **vars(CONTEXT)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert CONTEXT.digest(1) == hashlib.sha256(text.encode()).digest()
