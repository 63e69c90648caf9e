"""Payloads of strangers: one form is read, and everything else is refused in one way."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import MessageRejected
from privacy.secagg.payload import (
    MOST_BYTES,
    MOST_REASON,
    Resigned,
    bytes_by_name,
    bytes_of,
    hex_by_name,
    names_of,
    read,
    resignation,
)
from privacy.secagg.steps import canonical

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected(payload: bytes) -> None:
    try:
        content = read(payload, ["a"])
    except MessageRejected:
        return
    assert canonical(content) == payload


@given(ANYTHING)
def test_any_json_is_read_or_rejected(content: object) -> None:
    try:
        payload = canonical(content)
    except UnicodeEncodeError:  # half a character
        return
    if isinstance(content, dict) and set(content) == {"a"}:
        assert canonical(read(payload, ["a"])) == payload
        return
    with pytest.raises(MessageRejected):
        read(payload, ["a"])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": 1}',
        b'{"a":1} ',
        b'{"a":1,"a":1}',
        b'{"b":2,"a":1}',
        b'{"a":1e0}',
        b'{"a":"\\u0041"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}'.decode().encode("utf-16"),
        b'{"a":"\\ud800"}',
        b"[" * 200_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b" " * (MOST_BYTES + 1),
        b"",
        b"null",
    ],
)
def test_other_texts_of_the_same_and_tricks_are_rejected(payload: bytes) -> None:
    with pytest.raises(MessageRejected):
        read(payload, ["a"])


@given(st.text())
def test_a_resignation_says_why_in_one_short_line(reason: str) -> None:
    try:
        packet = resignation(reason)
    except UnicodeEncodeError:
        pytest.fail("half a character stops a resignation")
    with pytest.raises(Resigned) as raised:
        read(packet.payload, ["a"])
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < MOST_REASON + 40


def test_a_forged_resignation_is_cut_and_cleaned() -> None:
    forged = canonical({"abort": "\x1b[2J" + "x" * 10_000 + "\n"})
    with pytest.raises(Resigned) as raised:
        read(forged, ["a"])
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < MOST_REASON + 40


@given(ANYTHING)
def test_hex_is_read_in_one_form(value: object) -> None:
    try:
        data = bytes_of(value, "it", 2)
    except MessageRejected:
        return
    assert value == data.hex()
    assert len(data) == 2


@pytest.mark.parametrize("value", ["AB", "a b", " ab", "abc", "", "0xab", "ab" * 5000, 7, None])
def test_other_forms_of_hex_are_rejected(value: object) -> None:
    with pytest.raises(MessageRejected):
        bytes_of(value, "it")


@given(st.dictionaries(st.sampled_from("abc"), st.binary(min_size=1, max_size=9)))
def test_bytes_by_name_come_back(values: dict[str, bytes]) -> None:
    written = json.loads(canonical(hex_by_name(values)))
    assert bytes_by_name(written, "it", "abc") == values


@given(ANYTHING)
def test_lists_of_names_are_sorted_and_distinct(value: object) -> None:
    try:
        names = names_of(value, "it")
    except MessageRejected:
        return
    assert list(names) == sorted(set(names)) == value
