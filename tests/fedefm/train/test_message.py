"""What a receiver takes, and what it refuses and why."""

import json
import pickle
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from fedefm.errors import MessageRejected
from fedefm.train.message import (
    ANY_LENGTH,
    LONGEST_BYTES,
    Header,
    Message,
    Postbox,
    digest,
    shapes_of,
)

HEADER = Header("job", "run-1", 3, "weights", "north", "east", 7, "0" * 64, "none")
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.5)}
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
shapes = st.lists(st.integers(0, 4), max_size=3)
types = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.float16])
tensors = st.builds(lambda s, t: (torch.arange(99)[: int(torch.Size(s).numel())].reshape(s)).to(t),
                    shapes, types)  # fmt: skip


def sent(**changes: Any) -> Message:
    """A message from north to east, correct but for ``changes`` of its header."""
    message = Postbox("north", "job", "run-1").seal(3, "weights", "east", WEIGHTS)
    return Message(replace(message.header, **changes), message.tensors)


def opened(message: Message, postbox: Postbox | None = None) -> Any:
    """What east makes of it in round 3, where it waits for the weights of north."""
    postbox = postbox or Postbox("east", "job", "run-1")
    return postbox.open(message, 3, "weights", frozenset({"north"}), shapes_of(WEIGHTS))


@given(st.dictionaries(names.filter(lambda n: n != "__metadata__"), tensors, max_size=4))
def test_a_message_survives_its_bytes(content: dict[str, torch.Tensor]) -> None:
    back = Message.from_bytes(Message(HEADER, content).to_bytes())

    assert back.header == HEADER
    assert back.tensors.keys() == content.keys()
    for name, tensor in content.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert torch.equal(back.tensors[name], tensor)
    assert digest(back.tensors) == digest(content)
    assert back.size == sum(t.numel() * t.element_size() for t in content.values())


def test_parts_of_one_vector_and_transposed_tensors_travel_with_their_values() -> None:
    vector = torch.arange(12.0).requires_grad_()
    content = {"first": vector[:6], "turned": vector[6:].reshape(2, 3).T}
    back = Message.from_bytes(Message(HEADER, content).to_bytes())
    assert all(torch.equal(back.tensors[name], content[name]) for name in content)


@given(st.binary(max_size=300))
def test_garbage_is_rejected(data: bytes) -> None:
    with pytest.raises(MessageRejected):
        Message.from_bytes(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_byte_is_rejected_or_changes_nothing_that_counts(place: int, bits: int) -> None:
    whole = bytearray(sent().to_bytes())
    place %= len(whole)
    whole[place] ^= bits
    try:
        message = Message.from_bytes(bytes(whole))
        content = opened(message)
    except MessageRejected:
        return
    assert digest(content) == digest(WEIGHTS)  # the damage fell on blanks, or on the mechanism


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1])
def test_a_message_cut_short_is_rejected(length: int) -> None:
    with pytest.raises(MessageRejected):
        Message.from_bytes(sent().to_bytes()[:length])


def test_a_pickle_is_never_opened() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle from the network was executed",))

    for data in (pickle.dumps(Bomb()), len(pickle.dumps(Bomb())).to_bytes(8, "little")):
        with pytest.raises(MessageRejected):
            Message.from_bytes(data + pickle.dumps(Bomb()))


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "{}",
        "7",
        "[" * 100_000,
        json.dumps({**asdict(HEADER), "sequence": "7"}),
        json.dumps({**asdict(HEADER), "sequence": float("nan")}),
        json.dumps({**asdict(HEADER), "sequence": True}),
        json.dumps({**asdict(HEADER), "sender": ["north"]}),
        json.dumps({**asdict(HEADER), "round": 3.0}),
        json.dumps({**asdict(HEADER), "phase": None}),
    ],
)
def test_a_header_of_other_types_is_rejected_before_it_is_compared(header: str) -> None:
    with pytest.raises(MessageRejected):
        Message.from_bytes(save(WEIGHTS, metadata={"header": header}))


@pytest.mark.parametrize("name", [*vars(HEADER)])
def test_a_header_with_a_long_word_is_rejected_without_repeating_it(name: str) -> None:
    long = 10**4000 if isinstance(getattr(HEADER, name), int) else "x" * 301
    with pytest.raises(MessageRejected, match=f"{name} of the header is longer") as refused:
        Message.from_bytes(Message(replace(HEADER, **{name: long}), WEIGHTS).to_bytes())
    assert len(str(refused.value)) < 200


def test_what_was_sealed_is_opened() -> None:
    message = Message.from_bytes(sent().to_bytes())
    assert shapes_of(opened(message)) == shapes_of(WEIGHTS)
    assert torch.equal(opened(message)["a"], WEIGHTS["a"])
    assert message.header.mechanism == "none"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"job": "another"}, "job is 'another', not 'job'"),
        ({"run_id": "run-0"}, "run_id is 'run-0', not 'run-1'"),
        ({"round": 2}, "round is 2, not 3"),
        ({"phase": "expert"}, "phase is 'expert', not 'weights'"),
        ({"receiver": "south"}, "receiver is 'south', not 'east'"),
        ({"sender": "south"}, "not expected"),
        ({"sha256": "0" * 64}, "SHA-256"),
    ],
)
def test_a_message_from_elsewhere_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(MessageRejected, match=r"message from '(north|south)'") as refusal:
        opened(sent(**changes))
    assert reason in str(refusal.value)


def test_a_message_is_opened_once() -> None:
    postbox = Postbox("east", "job", "run-1")
    sender = Postbox("north", "job", "run-1")
    first = sender.seal(3, "weights", "east", WEIGHTS)
    second = sender.seal(3, "weights", "east", WEIGHTS)
    opened(second, postbox)
    for replay in (second, first):
        with pytest.raises(MessageRejected, match=r"'north'.*was seen before"):
            opened(replay, postbox)
    opened(sender.seal(3, "weights", "east", WEIGHTS), postbox)


def test_a_sender_that_was_started_again_is_heard_in_the_next_round_and_not_twice_in_one() -> None:
    postbox, round_3 = Postbox("east", "job", "run-1"), sent(sequence=5)
    opened(round_3, postbox)
    again = Postbox("north", "job", "run-1")  # counts from 1
    with pytest.raises(MessageRejected, match="sequence number 1 was seen before"):
        opened(again.seal(3, "weights", "east", WEIGHTS), postbox)
    north = frozenset({"north"})
    message = again.seal(4, "weights", "east", WEIGHTS)
    assert postbox.open(message, 4, "weights", north, shapes_of(WEIGHTS)).keys() == WEIGHTS.keys()
    with pytest.raises(MessageRejected, match="was seen before"):
        postbox.open(message, 4, "weights", north, shapes_of(WEIGHTS))


def test_a_refused_message_does_not_use_up_its_number() -> None:
    postbox = Postbox("east", "job", "run-1")
    message = sent()
    forged = Message(replace(message.header, sha256="0" * 64, sequence=10**9), message.tensors)
    with pytest.raises(MessageRejected):
        opened(forged, postbox)
    opened(message, postbox)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": WEIGHTS["a"]}, "'b' is missing"),
        ({**WEIGHTS, "c": torch.zeros(1)}, "'c' is not part of this model"),
        ({**WEIGHTS, "a": torch.zeros(3, 2)}, r"'a' has shape \(3, 2\), not \(2, 3\)"),
        ({**WEIGHTS, "b": torch.tensor(float("nan"))}, "'b' holds NaN"),
        ({**WEIGHTS, "b": torch.tensor(float("inf"))}, "'b' holds NaN or infinite"),
        ({**WEIGHTS, "b": torch.tensor(complex("nan"))}, "'b' is of type torch.complex64"),
        (
            {**WEIGHTS, "b": torch.tensor(1.0).to(torch.float8_e4m3fn)},
            "'b' is of type torch.float8",
        ),
    ],
)
def test_weights_that_cannot_be_this_models_are_refused_by_name(
    content: dict[str, torch.Tensor], reason: str
) -> None:
    message = Postbox("north", "job", "run-1").seal(3, "weights", "east", content)
    with pytest.raises(MessageRejected, match=f"message from 'north'.*{reason}"):
        opened(message)


@given(st.integers(0, 6), st.integers(0, 31))
def test_a_flipped_bit_in_a_tensor_is_found(place: int, bit: int) -> None:
    message = sent()
    names_in_order = [("a", k) for k in range(6)] + [("b", 0)]
    name, position = names_in_order[place]
    damaged = {key: tensor.clone() for key, tensor in message.tensors.items()}
    damaged[name].reshape(-1).view(torch.int32)[position] ^= -(2**31) if bit == 31 else 1 << bit
    with pytest.raises(MessageRejected, match="'north'"):
        opened(Message(message.header, damaged))


@given(names, names)
def test_the_digest_depends_on_names_types_shapes_and_values(one: str, other: str) -> None:
    x = torch.zeros(2, 3)
    same = digest({one: x})
    assert (digest({other: x}) == same) == (one == other)
    assert digest({one: x.reshape(3, 2)}) != same
    assert digest({one: x.to(torch.int32)}) != same
    assert digest({one: x + 1}) != same
    assert digest({one: x.T.contiguous().T}) == same


ROW = {"payload": ANY_LENGTH}


def opened_row(content: torch.Tensor) -> torch.Tensor:
    """What east makes of bytes whose number it does not know."""
    message = Postbox("north", "job", "run-1").seal(3, "roster", "east", {"payload": content})
    back = Message.from_bytes(message.to_bytes())
    postbox = Postbox("east", "job", "run-1")
    return postbox.open(back, 3, "roster", frozenset({"north"}), ROW)["payload"]


@given(st.binary(max_size=2000))
def test_bytes_of_any_number_travel(content: bytes) -> None:
    row = torch.tensor(list(content), dtype=torch.uint8)
    assert bytes(opened_row(row).tolist()) == content


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(2, 2, dtype=torch.uint8),
        torch.tensor(1, dtype=torch.uint8),
        torch.zeros(LONGEST_BYTES + 1, dtype=torch.uint8),
        torch.zeros(LONGEST_BYTES // 4 + 1),
    ],
)
def test_what_is_no_row_of_bytes_or_too_long_is_refused(content: torch.Tensor) -> None:
    with pytest.raises(MessageRejected, match=r"'north'.*'payload' is no row of at most"):
        opened_row(content)


def test_the_longest_row_is_taken() -> None:
    assert len(opened_row(torch.zeros(LONGEST_BYTES, dtype=torch.uint8))) == LONGEST_BYTES


def signed(sealed: Any, owner: str = "north", by: str = "north") -> Message:
    """A message of ``owner`` that ``by`` has signed, as it arrives."""
    postbox = Postbox(owner, "job", "run-1", seal=sealed(by))
    return Message.from_bytes(postbox.seal(3, "weights", "east", WEIGHTS).to_bytes())


def test_a_signed_message_is_opened_with_a_seal_and_without_one(sealed: Any) -> None:
    for seal in (sealed("east"), None):
        content = opened(signed(sealed), Postbox("east", "job", "run-1", seal=seal))
        assert digest(content) == digest(WEIGHTS)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: Message(m.header, m.tensors),  # the signature left out
        lambda m: Message(m.header, m.tensors, m.seal[::-1]),
        lambda m: Message(replace(m.header, mechanism="dp:0"), m.tensors, m.seal),
        lambda m: Message(replace(m.header, sequence=99), m.tensors, m.seal),
        lambda m: Message(replace(m.header, sha256=digest({})), m.tensors, m.seal),
    ],
)
def test_what_its_sender_did_not_sign_is_refused_and_uses_up_no_number(
    sealed: Any, change: Any
) -> None:
    postbox = Postbox("east", "job", "run-1", seal=sealed("east"))
    with pytest.raises(MessageRejected, match=r"'north'.*signature does not fit"):
        opened(change(signed(sealed)), postbox)
    opened(signed(sealed), postbox)


@pytest.mark.parametrize("field", [field.name for field in fields(Header)])
def test_every_field_of_a_header_is_signed(sealed: Any, field: str) -> None:
    """Each is changed on the way, and the receiver is one where the changed message would fit."""
    message = signed(sealed)
    value = getattr(message.header, field)
    header = replace(message.header, **{field: value + 1 if type(value) is int else f"{value}x"})
    forged = Message.from_bytes(Message(header, message.tensors, message.seal).to_bytes())
    receiver = Postbox(header.receiver, header.job, header.run_id, seal=sealed("east"))
    senders = frozenset({header.sender})
    with pytest.raises(MessageRejected, match="signature does not fit"):
        receiver.open(forged, header.round, header.phase, senders, shapes_of(WEIGHTS))
    with pytest.raises(MessageRejected, match="signature does not fit"):
        receiver.vouch(forged)


def test_who_signs_in_anothers_name_is_refused(sealed: Any) -> None:
    with pytest.raises(MessageRejected, match="signature does not fit"):
        opened(signed(sealed, by="south"), Postbox("east", "job", "run-1", seal=sealed("east")))


def test_the_signature_binds_the_content(sealed: Any) -> None:
    message = signed(sealed)
    other = {**WEIGHTS, "b": torch.tensor(1.25)}
    with pytest.raises(MessageRejected, match="SHA-256"):
        opened(
            Message(message.header, other, message.seal),
            Postbox("east", "job", "run-1", seal=sealed("east")),
        )
    forged = replace(message.header, sha256=digest(other))
    with pytest.raises(MessageRejected, match="signature"):
        opened(
            Message(forged, other, message.seal),
            Postbox("east", "job", "run-1", seal=sealed("east")),
        )


def test_the_size_counts_the_signature_too(sealed: Any) -> None:
    message = signed(sealed)
    assert message.size == sent().size + len(message.seal)
    assert sent().size == 7 * 4


def test_whole_numbers_are_never_infinite() -> None:
    whole = {"x": torch.tensor([255], dtype=torch.uint8), "y": torch.tensor([2**62])}
    message = Postbox("north", "job", "run-1").seal(3, "weights", "east", whole)
    postbox = Postbox("east", "job", "run-1")
    assert postbox.open(message, 3, "weights", frozenset({"north"}), shapes_of(whole)) == whole


def test_weights_travel_in_half_the_bytes_and_arrive_rounded_as_float32() -> None:
    a, b = (Postbox(name, "job", "id", wire="bfloat16") for name in ("a", "b"))
    weights = {"w": torch.randn(1000), "marks": torch.ones(3, dtype=torch.uint8)}
    message = a.seal(0, "weights", "b", weights)
    arrived = Message.from_bytes(message.to_bytes())
    assert message.size == 2 * 1000 + 3
    opened = b.open(arrived, 0, "weights", frozenset({"a"}), shapes_of(weights))
    assert opened["w"].dtype == torch.float32
    assert 0 < float((opened["w"] / weights["w"] - 1).abs().max()) <= 2**-8
    torch.testing.assert_close(opened["marks"], weights["marks"])


@pytest.mark.parametrize(("sent", "wanted"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_numbers_of_another_type_than_the_run_agreed_on_are_refused(sent: str, wanted: str) -> None:
    weights = {"w": torch.ones(2)}
    message = Postbox("a", "job", "id", wire=sent).seal(0, "weights", "b", weights)
    with pytest.raises(MessageRejected, match=f"of type torch.{sent}"):
        Postbox("b", "job", "id", wire=wanted).open(
            message, 0, "weights", frozenset({"a"}), shapes_of(weights)
        )


def test_who_goes_on_for_another_process_counts_on() -> None:
    weights, receiver = {"w": torch.ones(2)}, Postbox("b", "job", "id")
    for sender in (Postbox("a", "job", "id"), Postbox("a", "job", "id", sent_before=1)):
        message = sender.seal(0, "sum", "b", weights)
        receiver.open(message, 0, "sum", frozenset({"a"}), shapes_of(weights))
    again = Postbox("a", "job", "id").seal(0, "sum", "b", weights)
    with pytest.raises(MessageRejected, match="seen before"):
        receiver.open(again, 0, "sum", frozenset({"a"}), shapes_of(weights))
