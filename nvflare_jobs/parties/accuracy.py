"""Accuracies out of counts that sites tell: right answers and images, never the images."""

from collections.abc import Iterator, Mapping
from typing import Any

from fedefm.events import EventLog
from fedefm.train.telling import tell_accuracy

Answers = Mapping[str, Mapping[str, Any]]
SPLITS = ("validation", "test")


def tell_own(log: EventLog, round_index: int, answers: Answers) -> None:
    """Each site's own model on its own validation images, where a site measured."""
    for site, right, images in _counts(answers, "validation", "own"):
        tell_accuracy(log, round_index, site, right / images, images, "validation")


def tell_global(log: EventLog, round_index: int, answers: Answers) -> None:
    """The global model at each site, and on the images of all."""
    for split in SPLITS:
        counts = list(_counts(answers, split, "global"))
        for site, right, images in counts:
            log.emit(
                "evaluated",
                round=round_index,
                site=site,
                model="global",
                split=split,
                accuracy=right / images,
                images=images,
            )
        total = sum(images for _, _, images in counts)
        if total:
            share = sum(right for _, right, _ in counts) / total
            tell_accuracy(log, round_index, "global", share, total, split)


def pooled(answers: Answers, split: str) -> dict[str, float | int | None]:
    """The figures of ``result.json``; None where no site told."""
    counts = list(_counts(answers, split, "global"))
    total = sum(images for _, _, images in counts)
    if not total:
        return {"global_accuracy": None, "mean_site_accuracy": None}
    return {
        "global_accuracy": sum(right for _, right, _ in counts) / total,
        "mean_site_accuracy": sum(right / images for _, right, images in counts) / len(counts),
        f"{split}_images": total,
    }


def _counts(answers: Answers, split: str, model: str) -> Iterator[tuple[str, int, int]]:
    for site, answer in answers.items():
        right, images = answer.get("measured", {}).get(split, {}).get(model, (0, 0))
        if images:
            yield site, int(right), int(images)
