"""What models are worth, out of counts that sites tell: points and images, never the images."""

from collections.abc import Iterator, Mapping
from typing import Any

from fedefm.events import EventLog
from fedefm.train.measure import Scale
from fedefm.train.telling import tell_score

Answers = Mapping[str, Mapping[str, Any]]
SPLITS = ("validation", "test")


def tell_own(log: EventLog, round_index: int, answers: Answers, scale: Scale) -> None:
    """Each site's own model on its own validation images, where a site measured."""
    for site, points, images in _counts(answers, "validation", "own"):
        score = scale.mean(points, images)
        tell_score(log, round_index, site, scale, score, images, "validation")


def tell_global(log: EventLog, round_index: int, answers: Answers, scale: Scale) -> None:
    """The global model at each site, and on the images of all."""
    for split in SPLITS:
        counts = list(_counts(answers, split, "global"))
        for site, points, images in counts:
            log.emit(
                "evaluated",
                round=round_index,
                site=site,
                model="global",
                split=split,
                images=images,
                **{scale.name: scale.mean(points, images)},
            )
        total = sum(images for _, _, images in counts)
        if total:
            score = scale.mean(sum(points for _, points, _ in counts), total)
            tell_score(log, round_index, "global", scale, score, total, split)


def pooled(answers: Answers, split: str, scale: Scale) -> dict[str, float | int | None]:
    """The figures of ``result.json``; None where no site told."""
    counts = list(_counts(answers, split, "global"))
    total = sum(images for _, _, images in counts)
    overall, mean = f"global_{scale.name}", f"mean_site_{scale.name}"
    if not total:
        return {overall: None, mean: None}
    by_site = [scale.mean(points, images) for _, points, images in counts]
    return {
        overall: scale.mean(sum(points for _, points, _ in counts), total),
        mean: sum(by_site) / len(by_site),
        f"{split}_images": total,
    }


def _counts(answers: Answers, split: str, model: str) -> Iterator[tuple[str, int, int]]:
    for site, answer in answers.items():
        points, images = answer.get("measured", {}).get(split, {}).get(model, (0, 0))
        if images:
            yield site, int(points), int(images)
