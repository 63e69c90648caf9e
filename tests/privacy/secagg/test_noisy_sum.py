"""A sum whose parts bring shares of the noise is opened with enough of them, or not at all."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedefm.config import NoiseSharesConfig, SecaggConfig
from fedefm.errors import PolicyRefused
from fedefm.train.exchange import Cohort, Occasion
from fedefm.train.message import Header
from fedefm.train.simulate import Faults, Network
from privacy.identity import ThrowAwayRoot
from privacy.secagg.memory import Memory
from privacy.secagg.noise_shares import NoiseShares
from privacy.secagg.sum import SecureSum

SERVER, NAMES, LENGTH = "server", ("a", "b", "c", "d", "e", "f"), 40
ISSUER = ThrowAwayRoot()
IDENTITIES = {name: ISSUER.issue(name) for name in (*NAMES, SERVER)}
OCCASION = Occasion(0, "sum", LENGTH, noisy=True)


def shares(length: int) -> NoiseShares:
    return NoiseShares(0.5, 1.0, 4, 8, length)


def part_of(name: str) -> Tensor:
    """Whole quanta, as a trainer gives them."""
    rng = torch.Generator().manual_seed(ord(name))
    return torch.randint(-(2**22), 2**22, (LENGTH,), generator=rng) * shares(LENGTH).quantum


def play(
    lost: Iterable[str] = (),
    honest: int = 4,
    colluders: int = 1,
    min_cohort: int = 1,
    noisy: bool = True,
    shared: Any = shares,
    others: Mapping[str, Any] | None = None,
) -> tuple[Any, list[str]]:
    """The server's outcome where the masked inputs of ``lost`` do not come, and what all told."""
    settings = SecaggConfig(
        noise_shares=NoiseSharesConfig(honest=honest), colluders=colluders, bound=64.0
    )
    told: list[str] = []
    cohort = Cohort(SERVER, frozenset(NAMES))
    occasion = OCCASION if noisy else Occasion(0, "sum", LENGTH)
    steps = {
        name: SecureSum(
            name,
            IDENTITIES[name],
            ISSUER.root,
            Memory(None),
            "job",
            "run",
            settings,
            min_cohort,
            told.append,
            (others or {}).get(name, shared),
        )(
            occasion,
            {} if name == SERVER else {cohort: part_of(name)},
            cohort if name == SERVER else None,
        )
        for name in (*NAMES, SERVER)
    }

    def silent(header: Header) -> bool:
        return header.phase == "sum/masked" and header.sender in set(lost)

    outcomes = Network("job", "run", 10.0, Faults(lose=silent)).run_round(steps, 0)
    return outcomes[SERVER], told


@pytest.mark.parametrize("lost", ["", "b"])
def test_what_is_opened_is_the_exact_sum_of_who_is_in_it(lost: str) -> None:
    outcome, told = play(lost)
    members = tuple(sorted(set(NAMES) - set(lost)))
    want = sum((part_of(name).double() for name in members), torch.zeros(LENGTH).double())
    assert outcome.result.members == members
    assert torch.equal(outcome.result.vector, want.float())
    assert not [sentence for sentence in told if "others besides itself" in sentence]


@pytest.mark.parametrize(
    ("honest", "colluders", "lost"),
    [(4, 1, "bc"), (5, 1, "b"), (4, 2, "b"), (6, 0, "e")],
)
def test_with_a_share_too_few_nobody_opens(honest: int, colluders: int, lost: str) -> None:
    outcome, told = play(lost, honest, colluders)
    assert outcome.result.members == ()
    assert not outcome.result.vector.any()
    assert told


def test_it_is_the_members_who_refuse_though_enough_for_other_sums_are_left() -> None:
    _, told = play("b", honest=5, colluders=1)
    assert any("demands 5 others besides itself" in sentence for sentence in told)


def test_a_sum_without_shares_of_noise_needs_no_more_than_the_policy() -> None:
    outcome, _ = play("b", honest=5, noisy=False)
    assert len(outcome.result.members) == 5


def test_the_policy_s_cohort_counts_where_it_is_the_larger() -> None:
    outcome, told = play("b", honest=2, colluders=0, min_cohort=5)
    assert outcome.result.members == ()
    assert any("demands 5 others" in sentence for sentence in told)


@pytest.mark.parametrize("change", [{"noise_multiplier": 0.9}, {"honest": 5}, {"most": 7}])
def test_members_who_were_told_of_other_noise_open_nothing_together(change: Any) -> None:
    def other(length: int) -> NoiseShares:
        return replace(shares(length), **change)

    assert other(LENGTH).quantum == shares(LENGTH).quantum  # so that the ring does not tell
    outcome, told = play(others={"c": other})
    assert "c" not in outcome.result.members
    assert told


def test_a_run_that_shares_no_noise_opens_no_sum_of_shares() -> None:
    outcome, _ = play(shared=None)
    assert isinstance(outcome.error, PolicyRefused)
    assert "add all of their noise themselves" in str(outcome.error)
