"""What the global model of a run is worth on everybody's test images."""

import math
from collections.abc import Mapping

from fedefm.data.dataset import FrameDataset
from fedefm.events import EventLog
from fedefm.finetune.evaluate import evaluate_foundation
from fedefm.model.foundation import FoundationModel
from fedefm.train.assemble import merged
from fedefm.train.pooled import NOBODY, Pooled


def measure_global(
    model: FoundationModel, tests: Mapping[str, FrameDataset], log: EventLog, round_index: int
) -> dict[str, float | int | None]:
    """Accuracy of the global model on all test images, with an interval by patient, and by site.

    Which corpus was taken for which is told too. All images are in one process here.
    """
    if not tests:
        return {"global_accuracy": None, "mean_site_accuracy": None}
    by_site = {name: evaluate_foundation(model, test).accuracy for name, test in tests.items()}
    for name, accuracy in by_site.items():
        log.emit(
            "evaluated",
            round=round_index,
            site=name,
            model="global",
            split="test",
            accuracy=accuracy.value,
            low=_known(accuracy.low),
            high=_known(accuracy.high),
            images=len(tests[name]),
        )
    together = merged(list(tests.values()))
    scores = evaluate_foundation(model, together)
    log.emit(
        "confusion",
        round=round_index,
        split="test",
        classes=list(together.classes),
        counts=[list(row) for row in scores.confusion],
    )
    log.emit(
        "evaluated",
        round=round_index,
        site="global",
        split="test",
        accuracy=scores.accuracy.value,
        images=scores.images,
    )
    return {
        "global_accuracy": scores.accuracy.value,
        "global_accuracy_low": _known(scores.accuracy.low),
        "global_accuracy_high": _known(scores.accuracy.high),
        "mean_site_accuracy": sum(one.value for one in by_site.values()) / len(by_site),
        "test_images": scores.images,
        "test_patients": scores.patients,
    }


def pooled_metrics(verdict: Mapping[str, Pooled]) -> dict[str, float | int | None]:
    """The figures of ``result.json`` where sites tell sums alone: no interval, no site's own."""
    test = verdict.get("test", NOBODY)
    figures: dict[str, float | int | None] = {
        "global_accuracy": test.accuracy,
        "mean_site_accuracy": None,
    }
    return figures | ({"test_images": test.images} if test.images else {})


def _known(value: float) -> float | None:
    """JSON has no NaN; a single patient gives no interval."""
    return None if math.isnan(value) else value
