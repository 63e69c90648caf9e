"""What one site tells of itself in a job; all else stays.

The site's own file decides: a number whose name is not in ``policy.allowed_metrics`` is not told. A
private site tells nothing that was measured in training, and in a run with secure sums no site
tells by itself what the run adds up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from fedefm.config import PolicyConfig, RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.train.exchange import RoundStats
from fedefm.train.measure import Measure, Yardstick, measure_nothing, measure_on
from fedefm.train.simulate import Outcome
from nvflare_jobs.parties.answers import MEASURED_IN_TRAINING, few, tellable
from nvflare_jobs.parties.reasons import Discretion, tell_reason, without_places
from nvflare_jobs.parties.reports import report_of

ACCURACIES = frozenset({"accuracy", "images"})  # the metrics that they are, whatever is measured


class Disclosure:
    """What a site with this ``policy`` lets out of ``run``, and with which words it fails."""

    def __init__(
        self, policy: PolicyConfig, run: RunConfig, yardstick: Yardstick, discretion: Discretion
    ) -> None:
        private = run.privacy.dp is not None
        allowed = frozenset(policy.allowed_metrics)
        self._discretion, self._yardstick = discretion, yardstick
        self._alone = tellable(policy, run)
        self._in_sums = allowed - MEASURED_IN_TRAINING if private else allowed

    @property
    def tells_images(self) -> bool:
        """Whether the site says how many images it holds, where it is not private."""
        return "images" in self._alone

    def report(self, outcome: Outcome[RoundStats], reason: str | None = None) -> dict[str, Any]:
        """What may be told of a round. Bytes are seen by the relay anyway.

        ``reason`` says why the site took no part; an error of ``outcome`` says it by itself.
        """
        if outcome.error is not None:
            reason = tell_reason(outcome.error, self._discretion)
        report = report_of(outcome, reason)
        if "loss" not in self._alone:
            report["loss"] = None
        if "similarity" not in self._alone:
            report["similarity"] = {}
        if "seconds" not in self._alone:
            report["seconds"] = report["exchange_seconds"] = 0.0
        return report

    def complaints(self, complaints: Sequence[str]) -> list[str]:
        """What went wrong with others, few of them, and no places on the site's disk."""
        return [without_places(each, self._discretion) for each in few(complaints)]

    def accuracies(
        self, models: Mapping[str, nn.Module], held_out: Mapping[str, FrameDataset | None]
    ) -> dict[str, dict[str, tuple[int, int]]]:
        """``split -> model -> (points, images)``; empty where the site does not tell accuracies."""
        if not self._alone >= ACCURACIES:
            return {}
        return {
            split: {n: (self._yardstick.points(m, data), len(data)) for n, m in models.items()}
            for split, data in held_out.items()
            if data is not None
        }

    def accuracies_in_sums(self, held_out: Mapping[str, FrameDataset | None]) -> Measure:
        """How models do on the own images, for sums; on none where the site tells no accuracies."""
        return (
            measure_on(self._yardstick, held_out)
            if self._in_sums >= ACCURACIES
            else measure_nothing
        )

    def in_sums(self, stats: RoundStats | None) -> RoundStats | None:
        """What may go into a sum over all sites; no loss and no agreement of a private site."""
        if stats is None:
            return None
        return replace(
            stats,
            loss=stats.loss if "loss" in self._in_sums else None,
            similarity=stats.similarity if "similarity" in self._in_sums else {},
        )
