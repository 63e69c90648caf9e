"""What was done to patients' data, apart from how it is counted.

A ``Mechanism`` is one noisy step. A ``Spend`` is how often each was taken. The ledger stores these,
never only an epsilon, because epsilons of several jobs cannot be added up without giving most of
the budget away (three equal jobs: 3.19 together, 5.48 as a sum).

There is one kind of mechanism, and its units are drawn by Poisson sampling. A trainer that shuffles
its data has no mechanism to write down, so nothing here gives it an epsilon.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from fedefm.errors import PrivacyError

if TYPE_CHECKING:
    from dp_accounting.dp_event import DpEvent

Unit = Literal["patient", "image"]


KIND = "truncated Poisson sampling, Gaussian noise"


@dataclass(frozen=True, order=True)
class Mechanism:
    """One step: truncated Poisson sampling of units, then a Gaussian on the sum of what they give.

    Each of at most ``dataset_size`` units (patients) is drawn with probability ``sampling_rate``,
    apart from all others and anew in every step; where more than ``batch_cap`` are drawn, a random
    ``batch_cap`` of them stay. A cap of ``dataset_size`` or more leaves nobody out. Each unit gives
    a vector of norm at most C, and the sum gets noise of deviation ``noise_multiplier * C`` per
    coordinate. Raises PrivacyError where the numbers are no such step.

    With ``shares`` h above 1 the noise is a sum to which each of many sites adds a share of equal
    size, and only the sum of all sites is ever seen: the noise multiplier holds where the shares of
    h of them, this site's among them, are honest and in the sum (``secagg.noise_shares``). 1: the
    noise is all this site's own.
    """

    noise_multiplier: float
    sampling_rate: float
    dataset_size: int
    batch_cap: int
    shares: int = 1

    @property
    def own_noise(self) -> "Mechanism":
        """The step with this site's share of the noise alone: what it is if nobody else is honest.

        With k honest shares of h, noise falls by sqrt(k / h).
        """
        own = self.noise_multiplier / math.sqrt(self.shares)
        return replace(self, noise_multiplier=own, shares=1)

    @property
    def leaves_out(self) -> bool:
        """Can a step draw more units than it takes?"""
        return self.batch_cap < self.dataset_size

    def event(self) -> "DpEvent":
        """The step as dp-accounting knows it (truncation: arXiv 2508.15089).

        A neighboring dataset may hold one unit more, and is left out of more often: its size is the
        one that counts.
        """
        from dp_accounting import dp_event  # takes seconds to load

        if not self.leaves_out:
            return dp_event.PoissonSampledDpEvent(
                self.sampling_rate, dp_event.GaussianDpEvent(self.noise_multiplier)
            )
        return dp_event.TruncatedSubsampledGaussianDpEvent(
            dataset_size=self.dataset_size + 1,
            sampling_probability=self.sampling_rate,
            truncated_batch_size=self.batch_cap,
            noise_multiplier=self.noise_multiplier,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers by name, and the kind of step that they describe."""
        return {"kind": KIND} | self.numbers()

    def numbers(self) -> dict[str, Any]:
        """The numbers alone, ``shares`` only where noise is shared: so the ledger knows a step."""
        numbers = asdict(self)
        return numbers if self.shares > 1 else {n: x for n, x in numbers.items() if n != "shares"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Mechanism":
        """Read ``to_json``. Raises PrivacyError for another kind of step, and where a number is
        missing, of another type or not known."""
        if not isinstance(data, Mapping) or data.get("kind") != KIND:
            raise PrivacyError(f"not the record of a mechanism with {KIND}; it has no epsilon")
        numbers = {name: value for name, value in data.items() if name != "kind"}
        try:
            return cls(**numbers)
        except TypeError as error:
            raise PrivacyError(f"not the record of a mechanism: {error}") from None

    def __post_init__(self) -> None:
        counts = (self.dataset_size, self.batch_cap, self.shares)
        reals = (self.noise_multiplier, self.sampling_rate)
        if not (
            all(type(count) is int and count >= 1 for count in counts)
            and all(type(real) in (int, float) and math.isfinite(real) for real in reals)
            and self.noise_multiplier > 0
            and 0 < self.sampling_rate <= 1
        ):
            raise PrivacyError(
                f"no mechanism: noise multiplier {self.noise_multiplier}, sampling rate "
                f"{self.sampling_rate}, {self.dataset_size} units, at most {self.batch_cap} a "
                f"step, noise of {self.shares} shares"
            )


Spend = Mapping[Mechanism, int]  # steps taken, by mechanism
Taken = tuple[tuple[Mechanism, int], ...]  # in order, so that equal spends are one question


def own_noise(spend: Spend) -> Counter[Mechanism]:
    """The same steps with a site's own noise alone, as if no other site's share were honest."""
    total: Counter[Mechanism] = Counter()
    for mechanism, steps in spend.items():
        total[mechanism.own_noise] += steps
    return total


def together(*spends: Spend) -> Counter[Mechanism]:
    """All steps of several spends."""
    total: Counter[Mechanism] = Counter()
    for spend in spends:
        total.update(spend)
    return total
