"""What the global model of a run is worth on everybody's test images."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedefm.data.dataset import FrameDataset
from fedefm.events import EventLog
from fedefm.finetune.bootstrap import Interval, by_patient, pooled_intervals
from fedefm.finetune.evaluate import evaluate_foundation
from fedefm.model.foundation import FoundationModel
from fedefm.train.assemble import merged
from fedefm.train.measure import Scale, Yardstick
from fedefm.train.pooled import NOBODY, Pooled
from fedefm.train.pretext import Pretrained
from fedefm.train.site_tasks import SCORE

Metrics = dict[str, float | int | None]


def measure_global(
    model: Pretrained,
    tests: Mapping[str, FrameDataset],
    log: EventLog,
    round_index: int,
    yardstick: Yardstick,
) -> Metrics:
    """What the global model is worth on all test images, with an interval by patient, and by site.

    Where kinds are told apart, which was taken for which is told too. All images are in one process
    here.
    """
    overall, mean = f"global_{yardstick.name}", f"mean_site_{yardstick.name}"
    if not tests:
        return {overall: None, mean: None}
    found = {name: yardstick.by_image(model, test) for name, test in tests.items()}
    by_site = {name: _by_patient(found[name], test) for name, test in tests.items()}
    for name, score in by_site.items():
        _tell_site(log, round_index, name, score, len(tests[name]), yardstick)
    together = merged(list(tests.values()))
    if isinstance(model, FoundationModel):
        _tell_confusion(model, together, log, round_index)
    score = _by_patient(torch.cat(list(found.values())), together)
    log.emit(
        "evaluated",
        round=round_index,
        site="global",
        split="test",
        images=len(together),
        **{yardstick.name: score.value},
    )
    return {
        overall: score.value,
        f"{overall}_low": _known(score.low),
        f"{overall}_high": _known(score.high),
        mean: sum(one.value for one in by_site.values()) / len(by_site),
        "test_images": len(together),
        "test_patients": score.patients,
    }


def measure_tasks(
    models: Mapping[str, nn.Module],
    tests: Mapping[str, FrameDataset],
    yardsticks: Mapping[str, Yardstick],
    log: EventLog,
    round_index: int,
) -> Metrics:
    """What each site's model is worth on its own test images, as nobody else has its task.

    The overall figure is a mean over images of different tasks, all of which are told on one scale.
    """
    by_site: dict[str, Interval] = {}
    for name, test in tests.items():
        by_site[name] = _by_patient(yardsticks[name].by_image(models[name], test), test)
        _tell_site(log, round_index, name, by_site[name], len(test), yardsticks[name])
    if not by_site:
        return {f"global_{SCORE}": None, f"mean_site_{SCORE}": None}
    images = sum(len(test) for test in tests.values())
    points = sum(score.value * len(tests[name]) for name, score in by_site.items())
    return {
        f"global_{SCORE}": points / images,
        f"mean_site_{SCORE}": sum(score.value for score in by_site.values()) / len(by_site),
        "test_images": images,
        "test_patients": sum(score.patients for score in by_site.values()),
    }


def pooled_metrics(verdict: Mapping[str, Pooled], scale: Scale) -> Metrics:
    """The figures of ``result.json`` where sites tell sums alone: no interval, no site's own."""
    test = verdict.get("test", NOBODY)
    figures: Metrics = {
        f"global_{scale.name}": test.score(scale),
        f"mean_site_{scale.name}": None,
    }
    return figures | ({"test_images": test.images} if test.images else {})


def _by_patient(found: Tensor, dataset: FrameDataset) -> Interval:
    scores = found.double().numpy()
    (interval,) = pooled_intervals(by_patient(scores[:, None], dataset.patients.numpy()))
    return interval


def _tell_site(
    log: EventLog, round_index: int, site: str, score: Interval, images: int, scale: Scale
) -> None:
    log.emit(
        "evaluated",
        round=round_index,
        site=site,
        model="global",
        split="test",
        low=_known(score.low),
        high=_known(score.high),
        images=images,
        **{scale.name: score.value},
    )


def _tell_confusion(
    model: FoundationModel, test: FrameDataset, log: EventLog, round_index: int
) -> None:
    scores = evaluate_foundation(model, test)
    log.emit(
        "confusion",
        round=round_index,
        split="test",
        classes=list(test.classes),
        counts=[list(row) for row in scores.confusion],
    )


def _known(value: float) -> float | None:
    """JSON has no NaN; a single patient gives no interval."""
    return None if math.isnan(value) else value
