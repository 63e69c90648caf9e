"""The wire form: what comes out is what went in, and anything else is refused."""

import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import Shareable
from nvflare.fuel.utils import fobs

from fedefm.errors import MessageRejected, ProtocolError
from fedefm.train.exchange import RoundStats
from fedefm.train.message import Postbox
from fedefm.train.simulate import Outcome
from nvflare_jobs.parties.messages import (
    pack_message,
    pack_numbers,
    unpack_message,
    unpack_numbers,
)
from nvflare_jobs.parties.reports import outcome_of, report_of


def test_a_message_survives_flares_serialization() -> None:
    sealed = Postbox("a", "job", "id").seal(3, "weights", "b", {"x": torch.arange(4.0)})
    back = unpack_message(fobs.loads(fobs.dumps(pack_message(sealed))))
    assert back.header == sealed.header
    assert torch.equal(back.tensors["x"], sealed.tensors["x"])


def test_an_outcome_survives_as_numbers() -> None:
    outcome = Outcome(
        result=RoundStats(loss=1.5, learning_rate=0.1, similarity={"b": 0.25}),
        missing={"c"},
        rejected=["a reason"],
        sent_bytes=10,
        received_bytes=20,
        seconds=1.0,
        exchange_seconds=0.5,
    )
    told = unpack_numbers(pack_numbers(report_of(outcome, None)))
    assert outcome_of(told) == outcome


@pytest.mark.parametrize(
    "shareable",
    [
        Shareable(),
        DXO(DataKind.WEIGHTS, data={"message": b""}).to_shareable(),
        DXO(DataKind.APP_DEFINED, data={"message": b"not safetensors"}).to_shareable(),
        DXO(DataKind.APP_DEFINED, data={"numbers": "{}"}).to_shareable(),
    ],
)
def test_anything_else_is_no_message(shareable) -> None:
    with pytest.raises(MessageRejected):
        unpack_message(shareable)


@pytest.mark.parametrize("text", ["", "[1]", "nonsense", 5])
def test_anything_else_is_no_numbers(text) -> None:
    with pytest.raises(ProtocolError):
        unpack_numbers(DXO(DataKind.APP_DEFINED, data={"numbers": text}).to_shareable())


def test_a_report_without_its_parts_is_refused() -> None:
    with pytest.raises(ProtocolError):
        outcome_of({"loss": 1.0})
