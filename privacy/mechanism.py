"""What was done to patients' data, apart from how it is counted.

A ``Mechanism`` is one noisy step. A ``Spend`` is how often each was taken. The ledger stores these,
never only an epsilon, because epsilons of several jobs cannot be added up without giving most of
the budget away (three equal jobs: 3.19 together, 5.48 as a sum).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from dp_accounting import dp_event

from fedefm.errors import PrivacyError

Unit = Literal["patient", "image"]


@dataclass(frozen=True, order=True)
class Mechanism:
    """One step: truncated Poisson sampling of units, then a Gaussian on the sum of what they give.

    Each of ``dataset_size`` units (patients) is drawn with probability ``sampling_rate``; where
    more than ``batch_cap`` are drawn, a random ``batch_cap`` of them stay. Each gives a vector of
    norm at most C, and the sum gets noise of deviation ``noise_multiplier * C`` per coordinate.
    """

    noise_multiplier: float
    sampling_rate: float
    dataset_size: int
    batch_cap: int

    def event(self) -> dp_event.DpEvent:
        """The step as dp-accounting knows it (truncation: arXiv 2508.15089)."""
        return dp_event.TruncatedSubsampledGaussianDpEvent(
            dataset_size=self.dataset_size,
            sampling_probability=self.sampling_rate,
            truncated_batch_size=self.batch_cap,
            noise_multiplier=self.noise_multiplier,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Mechanism":
        """Read ``to_json``. Raises PrivacyError where a number is missing or of another type."""
        try:
            values = {field.name: data[field.name] for field in fields(cls)}
            return cls(
                float(values["noise_multiplier"]),
                float(values["sampling_rate"]),
                int(values["dataset_size"]),
                int(values["batch_cap"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PrivacyError(f"not the record of a mechanism: {error!r}") from None

    def __post_init__(self) -> None:
        if not (
            self.noise_multiplier > 0
            and 0 < self.sampling_rate <= 1
            and self.dataset_size >= 1
            and self.batch_cap >= 1
        ):
            raise PrivacyError(
                f"no mechanism: noise multiplier {self.noise_multiplier}, sampling rate "
                f"{self.sampling_rate}, {self.dataset_size} units, at most {self.batch_cap} a step"
            )


Spend = Mapping[Mechanism, int]  # steps taken, by mechanism


def together(*spends: Spend) -> Counter[Mechanism]:
    """All steps of several spends."""
    total: Counter[Mechanism] = Counter()
    for spend in spends:
        total.update(spend)
    return total
