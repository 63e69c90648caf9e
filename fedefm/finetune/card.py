"""The model card: what a reader must know before using a model."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, isnan
from typing import Any

from pydantic import BaseModel

from fedefm.finetune.angle_of_progression import AngleErrors
from fedefm.finetune.bootstrap import Interval
from fedefm.finetune.diagnosis_scores import DiagnosisScores
from fedefm.finetune.evaluate import FoundationScores
from fedefm.finetune.label_scores import ONE_LABEL, LabelScores
from fedefm.finetune.mask_scores import SegmentationScores
from fedefm.finetune.painting_scores import PaintingScores
from fedefm.words import several

Scores = SegmentationScores | LabelScores | DiagnosisScores | FoundationScores | PaintingScores

NOT_PROTECTED = (
    "**Not protected.** Trained without differential privacy: the weights may give away facts "
    "about single patients of the training data. Treat the file like the data."
)
UNKNOWN_ORIGIN = (
    "**Unknown.** The checkpoint does not say how it was trained. Take it as not protected: treat "
    "the file like the data that it was trained on."
)


NOT_COVERED = (
    "Epsilon bounds what the weights can reveal about one {unit} of the training data, and is "
    "counted for each site alone: a patient known to two hospitals adds up. It covers no image of "
    "validation or test, no score in this card, and not the settings that were tried before. "
    "Weights that training started from are protected as they were."
)


RESTS_ON = (
    "**These epsilons rest on the sites together.** They hold where at least {shares} sites in "
    "each sum, the patient's own among them, added their share of the noise and kept it to "
    "themselves; with k honest ones the noise is sqrt(k/{shares}) of what is counted."
)


def guarantee(spent: Mapping[str, Mapping[str, Any]]) -> str:
    """What was promised at each site, in words; ``spent`` is ``privacy`` of ``result.json``."""
    units = sorted({told["unit"] for told in spent.values()})
    lines = [
        f"- {site}: epsilon {_epsilon(told['epsilon'])} at delta {told['delta']:g} for each "
        f"{told['unit']} ({told['adjacency'].replace('_', ' ')}, {told['accountant']}; "
        f"{told['steps']} steps, sampling rate {told['sampling_rate']:.4g}, noise multiplier "
        f"{told['noise_multiplier']:.4g})"
        for site, told in spent.items()
    ]
    covered = NOT_COVERED.format(unit=" or ".join(units))
    rests = [RESTS_ON.format(shares=most), ""] if (most := _shares(spent)) > 1 else []
    return "\n".join(["**Trained with differential privacy.**", "", *lines, "", *rests, covered])


def _shares(spent: Mapping[str, Mapping[str, Any]]) -> int:
    return max((int(told.get("noise_shares", 1)) for told in spent.values()), default=1)


def _epsilon(value: float | None) -> str:
    """Rounded up, since a smaller number would promise too much."""
    return "without bound" if value is None else f"{ceil(100 * value - 1e-9) / 100:.2f}"


class DataUse(BaseModel, frozen=True, extra="forbid"):
    """How much of which data served for what. Counts only, never identifiers."""

    name: str
    used_for: str
    images: int | None  # None: not counted, as of private training
    patients: int | None = None


class ModelCard(BaseModel, frozen=True, extra="forbid"):
    """What a reader must know before using a model."""

    task: str
    backbone: str
    image_size: int
    classes: tuple[str, ...]
    trained_from: str  # "scratch" or "foundation checkpoint sha256:..."
    data: tuple[DataUse, ...] = ()
    scores: dict[str, str] = {}
    scored_on: str = ""
    by_corpus: dict[str, dict[str, str]] = {}  # corpus -> some of the scores
    settings: dict[str, str] = {}
    privacy: str = ""  # the guarantee in words; empty: none

    def markdown(self) -> str:
        """The card as text for people."""
        facts = {
            "Task": self.task,
            "Backbone": f"{self.backbone}, {self.image_size} x {self.image_size} px, gray",
            "Classes": ", ".join(self.classes),
            "Trained from": self.trained_from,
        }
        uses = [(d.name, d.used_for, _count(d.images), _count(d.patients)) for d in self.data]
        parts = ["# Model card", _table(("", ""), list(facts.items()))]
        header = ("data", "used for", "images", "patients")
        parts += ["## Data", _table(header, uses) if uses else "Not told."]
        if self.scores:
            parts += [f"## Measured on {self.scored_on or 'unnamed data'}", _meaning(self.scores)]
            parts += [_table(("score", "value [95 % interval]"), list(self.scores.items()))]
            parts += [_grid("corpus", self.by_corpus)] if self.by_corpus else []
        parts += ["## Privacy", self.privacy or NOT_PROTECTED]
        if self.settings:
            parts += ["## Settings", _table(("setting", "value"), list(self.settings.items()))]
        parts += ["## Use", "For research. Not a medical device, and not tested as one."]
        return "\n\n".join(parts) + "\n"


INTERVALS = "Intervals are drawn by patient (percentile bootstrap)."
MEANINGS = {  # of the scores that have this in their names
    "explained": "What is explained is the share of the variance within hidden patches that is "
    "painted right: 1 is perfect, and 0 is plain gray.",
    "Dice": "A class that is in neither truth nor prediction is left out.",
    "mIoU": "Jaccard is IoU; mIoU is its mean over the classes but the background.",
    "HD95": "HD95 and tip distances are over images with the device; one that was missed counts as "
    "the diagonal of the frame. Pixels are those of the resized frames; millimeters are by the "
    "manifest, of a projection often at the detector.",
    "angle of progression": "The error of an angle of progression is absolute, over images with "
    "one in truth and prediction.",
}


def _meaning(names: Iterable[str]) -> str:
    told = [words for part, words in MEANINGS.items() if any(part in name for name in names)]
    return " ".join([INTERVALS, *told])


def named_scores(scores: Scores) -> dict[str, str]:
    """The scores as lines of a card or of a terminal."""
    if isinstance(scores, PaintingScores):
        return headline(scores)
    if isinstance(scores, FoundationScores):
        return _named("accuracy", scores.accuracy, scores.per_class)
    if isinstance(scores, LabelScores):
        areas = _named("AUROC", scores.macro_auroc, scores.auroc, "mean AUROC")
        return areas | {ONE_LABEL: str(scores.accuracy_of_one_label)}
    if isinstance(scores, DiagnosisScores):
        right = _named("recognized", scores.accuracy, scores.recognized, "accuracy")
        areas = _named("AUROC", scores.macro_auroc, scores.auroc, "mean AUROC")
        areas |= _named("AUPRC", scores.macro_auprc, scores.auprc, "mean AUPRC")
        return areas | right
    lines = {
        **headline(scores),
        "mIoU": str(scores.miou),
        "mIoU with background": str(scores.miou_with_background),
        "false alarms on empty images": str(scores.false_alarm),
    }
    for word, each in (
        ("Dice", scores.dice),
        ("Jaccard", scores.jaccard),
        ("clDice", scores.cldice),
        ("HD95 in pixels", scores.hd95_px),
        ("HD95 in mm", _measured(scores.hd95_mm)),
        ("tip distance in pixels", scores.tip_px),
        ("tip distance in mm", _measured(scores.tip_mm)),
    ):
        lines |= {f"{word}, {name}": str(value) for name, value in each.items()}
    return lines | (_angle_lines(scores.angle) if scores.angle else {})


def _angle_lines(angle: AngleErrors) -> dict[str, str]:
    """The error, and in how many images there is none: who finds no angle makes no error."""
    true = angle.images - angle.without
    return {
        "error of the angle of progression in degrees": str(angle.error),
        "angle of progression not found": f"in {angle.missed} of {several(true, 'image')}",
        "angle of progression not in the truth": (
            f"in {angle.without} of {several(angle.images, 'image')}, left out"
        ),
    }


def headline(scores: Scores) -> dict[str, str]:
    """The few scores that one compares, for a table of several groups of images."""
    if isinstance(scores, PaintingScores):
        return {"explained variance": str(scores.explained)}
    if isinstance(scores, FoundationScores):
        return {"accuracy": str(scores.accuracy)}
    if isinstance(scores, LabelScores):
        return {"mean AUROC": str(scores.macro_auroc)}
    if isinstance(scores, DiagnosisScores):
        return {"mean AUROC": str(scores.macro_auroc), "accuracy": str(scores.accuracy)}
    return {"mean Dice": str(scores.mean_dice), "mean clDice": str(scores.mean_cldice)}


def _named(
    word: str, overall: Interval, each: Mapping[str, Interval], mean: str = ""
) -> dict[str, str]:
    return {mean or word: str(overall)} | {f"{word}, {name}": str(v) for name, v in each.items()}


def _measured(each: Mapping[str, Interval]) -> dict[str, Interval]:
    return {name: value for name, value in each.items() if not isnan(value.value)}


def _grid(what: str, groups: Mapping[str, Mapping[str, str]]) -> str:
    """A table of one row a group; all groups have the same scores."""
    names = next(iter(groups.values()))
    return _table((what, *names), [(group, *scores.values()) for group, scores in groups.items()])


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _count(number: int | None) -> str:
    return "not counted" if number is None else str(number)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
