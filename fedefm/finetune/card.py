"""The model card: what a reader must know before using a model."""

from collections.abc import Sequence

from pydantic import BaseModel

from fedefm.finetune.evaluate import FoundationScores, SegmentationScores

NOT_PROTECTED = (
    "**Not protected.** Trained without differential privacy: the weights may give away facts "
    "about single patients of the training data. Treat the file like the data."
)
UNKNOWN_ORIGIN = (
    "**Unknown.** The checkpoint does not say how it was trained. Take it as not protected: treat "
    "the file like the data that it was trained on."
)


class DataUse(BaseModel, frozen=True, extra="forbid"):
    """How much of which data served for what. Counts only, never identifiers."""

    name: str
    used_for: str
    images: int
    patients: int | None = None  # None: not counted


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
        uses = [(d.name, d.used_for, str(d.images), _count(d.patients)) for d in self.data]
        parts = ["# Model card", _table(("", ""), list(facts.items()))]
        parts += ["## Data", _table(("data", "used for", "images", "patients"), uses)]
        if self.scores:
            parts += [f"## Measured on {self.scored_on or 'unnamed data'}", INTERVALS]
            parts += [_table(("score", "value [95 % interval]"), list(self.scores.items()))]
        parts += ["## Privacy", self.privacy or NOT_PROTECTED]
        if self.settings:
            parts += ["## Settings", _table(("setting", "value"), list(self.settings.items()))]
        parts += ["## Use", "For research. Not a medical device, and not tested as one."]
        return "\n\n".join(parts) + "\n"


INTERVALS = (
    "Intervals are drawn by patient (percentile bootstrap). A class that is in neither truth nor "
    "prediction is left out. Jaccard is IoU; mIoU is its mean over the devices."
)


def named_scores(scores: SegmentationScores | FoundationScores) -> dict[str, str]:
    """The scores as lines of a card or of a terminal."""
    if isinstance(scores, FoundationScores):
        lines = {"accuracy": str(scores.accuracy)}
        return lines | {f"accuracy, {name}": str(v) for name, v in scores.per_class.items()}
    lines = {
        "mean Dice": str(scores.mean_dice),
        "mIoU": str(scores.miou),
        "mIoU with background": str(scores.miou_with_background),
        "mean clDice": str(scores.mean_cldice),
        "false alarms on empty images": str(scores.false_alarm),
    }
    for word, each in (
        ("Dice", scores.dice),
        ("Jaccard", scores.jaccard),
        ("clDice", scores.cldice),
    ):
        lines |= {f"{word}, {name}": str(value) for name, value in each.items()}
    return lines


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _count(number: int | None) -> str:
    return "not counted" if number is None else str(number)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
