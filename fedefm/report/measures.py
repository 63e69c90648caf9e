"""In which words a report says what a model is worth; which measure it is depends on the run."""

from dataclasses import dataclass

from fedefm.events import Event
from fedefm.report.numbers import percent


@dataclass(frozen=True)
class Words:
    """Of one measure. ``claim`` is what a model does, with a place for its score and its images.

    ``counts`` says that it is a share of images, of which an interval follows from their number.
    """

    name: str  # under which events and results tell it
    noun: str
    axis: str
    claim: str
    counts: bool = False

    @property
    def title(self) -> str:
        """The noun at the beginning of a sentence."""
        return self.noun[0].upper() + self.noun[1:]

    def does(self, score: float, images: str) -> str:
        """What a model with this ``score`` on these ``images`` does."""
        return self.claim.format(score=percent(score), images=images)


ACCURACY = Words(
    "accuracy",
    noun="accuracy",
    axis="accuracy (% of images)",
    claim="names the right class for {score} of {images}",
    counts=True,
)
EXPLAINED = Words(
    "explained",
    noun="explained variance",
    axis="explained variance (% within hidden patches)",
    claim="paints the hidden patches of {images} so that {score} of the variance within them is "
    "explained",
)
SCORE = Words(
    "score",
    noun="score",
    axis="score (% of the best)",
    claim="is worth {score} of the best on {images}, in the mean over sites with different tasks",
)
MEASURES = {words.name: words for words in (ACCURACY, EXPLAINED, SCORE)}


def measured_as(started: Event) -> Words:
    """The measure of the run that began so; accuracy where it was not told."""
    return MEASURES.get(str(started.get("measure")), ACCURACY)
