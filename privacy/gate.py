"""The gate: what leaves a private site carries the newest entry of its ledger in this run.

A message is stamped with the newest settled entry of the run, and checked against the ledger just
before it leaves. A run that never trained privately, or whose ledger is another one, has no such
entry, and nothing leaves. What leaves are means over many fits and many sites, so the entry says
under which account they were made and not that these very numbers came out of that fit: the code
that is installed at the site is trusted to train with nothing but its private trainer.
"""

import math
from dataclasses import dataclass
from typing import Any

from fedefm.config import Adjacency
from fedefm.errors import PolicyRefused
from fedefm.train.header import Header
from privacy.accountant import ACCOUNTANT, epsilon
from privacy.ledger import Account, Head, Ledger
from privacy.mechanism import Spend, own_noise
from privacy.policy import Promise

PREFIX = "dp:"


@dataclass(frozen=True)
class Facts:
    """What a result says about how its epsilon came about, besides the mechanism."""

    clip_norm: float
    frames_per_patient: int
    target: float | None  # the epsilon that the noise was calibrated to


def shared_noise(spend: Spend, delta: float, adjacency: Adjacency) -> dict[str, Any]:
    """On how many honest sites' noise an epsilon rests, and what it is with the site's own alone.

    Empty where all noise is the site's own. None stands for an epsilon without bound.
    """
    shares = max((mechanism.shares for mechanism in spend), default=1)
    if shares == 1:
        return {}
    alone = epsilon(own_noise(spend), delta, adjacency)
    return {
        "noise_shares": shares,
        "epsilon_own_noise": alone if math.isfinite(alone) else None,
    }


class Gate:
    """A site's ``Release`` in one run.

    Guarantee: ``check`` passes a header only if it carries the hash of an entry that ``ledger``
    holds as settled for ``run_id``; it is no proof of what the message holds. What it says of
    epsilon counts reserved steps as taken.
    """

    def __init__(
        self,
        site: str,
        run_id: str,
        ledger: Ledger,
        account: Account,
        promise: Promise,
        facts: Facts,
        planned: dict[str, Any],
    ) -> None:
        self._site, self._run_id = site, run_id
        self._ledger, self._account = ledger, account
        self._promise, self._facts, self._planned = promise, facts, planned

    def mechanism(self) -> str:
        """``dp:`` and the hash of this run's newest settled entry; ``none`` before the first."""
        reference = self._account.reference()
        return f"{PREFIX}{reference}" if reference else "none"

    def check(self, header: Header) -> None:
        """Raises PolicyRefused unless ``header`` carries a settled entry of this run."""
        prefix, reference = header.mechanism[: len(PREFIX)], header.mechanism[len(PREFIX) :]
        if prefix != PREFIX or not self._ledger.is_settled(reference, self._run_id):
            raise PolicyRefused(
                f"site {self._site!r} lets nothing leave without an entry of its ledger, and the "
                f"message to {header.receiver!r} (round {header.round}, {header.phase}) has "
                f"{header.mechanism!r}; what it trained in this run was not trained privately"
            )

    def planned(self) -> dict[str, Any]:
        """What the rest of the run costs at most, and what each part of it costs."""
        return dict(self._planned)

    def result(self) -> dict[str, Any]:
        """Epsilon of this run with all that it says nothing without."""
        spent, promise = self._account.spent(), self._promise
        reached = epsilon(spent, promise.delta, promise.adjacency)
        newest = self._account.mechanism
        return {
            "epsilon": reached if math.isfinite(reached) else None,  # JSON has no infinity
            "delta": promise.delta,
            "unit": promise.dataset.unit,
            "adjacency": promise.adjacency,
            "accountant": ACCOUNTANT,
            "noise_multiplier": newest.noise_multiplier,
            "sampling_rate": newest.sampling_rate,
            "steps": sum(spent.values()),
            "target_epsilon": self._facts.target,
            "units": promise.units,
            "batch_cap": newest.batch_cap,
            "clip_norm": self._facts.clip_norm,
            "frames_per_patient": self._facts.frames_per_patient,
            "dataset": promise.dataset.name,
            "mechanisms": [{**one.to_json(), "steps": steps} for one, steps in spent.items()],
            **shared_noise(spent, promise.delta, promise.adjacency),
        }

    def budget(self) -> dict[str, Any]:
        """What the site's cap leaves after all that is spent and planned, for those who may know.

        ``left`` and ``cap`` are None where the site has set no cap.
        """
        promise = self._promise
        sums = self._ledger.totals(promise.dataset, promise.budget)
        return {
            "left": sums.left,
            "cap": promise.budget.cap,
            "delta": promise.budget.delta,
            "adjacency": promise.budget.adjacency,
        }

    def head(self) -> Head:
        """The ledger's newest entry, for somebody outside to remember."""
        return self._ledger.head()

    def finish(self) -> None:
        """Give back the steps that were planned and never drawn."""
        self._account.close()

    def close(self) -> None:
        """Let go of the ledger; an open plan stays for the run to be resumed."""
        self._ledger.close()
