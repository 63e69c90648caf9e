"""In a run with secure sums a site's own numbers do not leave it, under whatever name."""

from typing import Any

import pytest
import torch

from fedefm.config import RunConfig
from fedefm.errors import PolicyRefused
from fedefm.train.message import Postbox
from fedefm.train.outline import Outline, read_outline
from nvflare_jobs.parties.phases import check_hidden
from privacy.secagg.plan import PHASES

PACKET, VECTOR = torch.zeros(40, dtype=torch.uint8), torch.zeros(4000, dtype=torch.uint8)
MODEL = torch.ones(1000)


def message(phase: str, **tensors: torch.Tensor) -> Outline:
    sealed = Postbox("hosp-a", "job", "id").seal(0, phase, "server", tensors)
    return read_outline(sealed.to_bytes())


def secure(make_run: Any, **federation: Any) -> RunConfig:
    run = make_run(**federation)
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"secagg": {}}})


@pytest.fixture
def fedavg(make_run) -> RunConfig:
    return secure(make_run, scenario="client_server", algorithm="fedavg")


def assert_stays(phase: str, run: RunConfig, **tensors: torch.Tensor) -> None:
    with pytest.raises(PolicyRefused):
        check_hidden(message(phase, **tensors), run)


@pytest.mark.parametrize("what", ["sum", "metrics", "experts"])
@pytest.mark.parametrize("phase", PHASES)
def test_packets_of_a_sum_leave(fedavg, what, phase) -> None:
    check_hidden(message(f"{what}/{phase}", payload=PACKET), fedavg)


def test_a_vector_leaves_only_masked(fedavg) -> None:
    check_hidden(message("sum/masked", payload=PACKET, vector=VECTOR), fedavg)
    for phase in set(PHASES) - {"masked"}:
        assert_stays(f"sum/{phase}", fedavg, payload=PACKET, vector=VECTOR)


@pytest.mark.parametrize("phase", ["sum", "model", "weights", "expert", "mean", "echo", "metrics"])
def test_nothing_leaves_a_site_of_fedavg_in_the_clear(fedavg, phase) -> None:
    assert_stays(phase, fedavg, vector=MODEL)
    assert_stays(phase, fedavg, payload=PACKET)


@pytest.mark.parametrize(
    ("phase", "tensors"),
    [
        ("sum/masked", {"payload": PACKET, "vector": MODEL}),
        ("sum/masked", {"vector": VECTOR}),
        ("sum/masked", {"payload": PACKET, "vector": VECTOR, "more": VECTOR.clone()}),
        ("sum/masked", {"payload": PACKET, "vector": VECTOR.reshape(2, -1)}),
        ("sum/share", {"payload": MODEL}),
        ("sum/share", {"payload": torch.zeros(2**24 + 1, dtype=torch.uint8)}),
        ("sum/share/", {"payload": PACKET}),
        ("sum/", {"payload": PACKET}),
        ("sum/plain", {"payload": PACKET}),
        ("SUM/share", {"payload": PACKET}),
    ],
)
def test_what_only_looks_like_a_packet_stays(fedavg, phase, tensors) -> None:
    assert_stays(phase, fedavg, **tensors)


def test_a_cohorts_mean_leaves_and_a_part_of_it_does_not(make_run) -> None:
    run = secure(make_run, schedule="grid", expert_every=9)
    check_hidden(message("mean", weight=MODEL), run)
    check_hidden(message("echo", digest=torch.zeros(32, dtype=torch.uint8)), run)
    for phase in ("sum", "weights", "expert", "model"):
        assert_stays(phase, run, weight=MODEL)
    assert_stays("echo", run, digest=torch.zeros(33, dtype=torch.uint8))
    assert_stays("echo", run, digest=torch.zeros(8))


def test_experts_leave_singly_only_where_the_run_says_so(make_run) -> None:
    swap = secure(make_run, schedule="grid", expert_every=2)
    mixed = {"update": "mixed", "schedule": "neighbors", "topology": "complete"}
    aggregated = secure(make_run, **mixed, expert="aggregated")
    for phase in ("weights", "expert"):
        check_hidden(message(phase, weight=MODEL), swap)
    check_hidden(message("weights", weight=MODEL), aggregated)
    for phase in ("expert", "mean"):
        assert_stays(phase, aggregated, weight=MODEL)


def test_a_run_with_plain_sums_sends_what_it_likes(make_run) -> None:
    check_hidden(message("sum", vector=MODEL), make_run())
