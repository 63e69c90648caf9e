"""How two runs differ, in sentences that claim no more than one run of each can show."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedefm.report import headline, protection, tables
from fedefm.report.intervals import Difference, difference
from fedefm.report.numbers import count, listed, percent
from fedefm.report.record import RunRecord

Table = list[list[str]]
_SEED, _NAME = "seed", "name"


@dataclass(frozen=True)
class Side:
    """One of the two runs, under the name that tells it from the other."""

    name: str
    record: RunRecord

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Of ``result.json``, or empty."""
        return self.record.result.get("metrics") or {}

    @property
    def score(self) -> float | None:
        """Of the shared model on everybody's test images."""
        return tables.headline_score(self.record)[0]

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, over test patients."""
        return tables.headline_score(self.record)[1]

    @property
    def score_told(self) -> str:
        """With its interval."""
        if self.interval is None:
            return percent(self.score)
        low, high = map(percent, self.interval)
        return f"{percent(self.score)} ({low} to {high})"


def points(gap: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    if gap == 0:
        return "the same"
    return f"{_signed(gap)}\u00a0points"


def ends(found: Difference) -> str:
    """The interval of a difference, in percentage points."""
    return f"{_signed(found.low)} to {_signed(found.high)}"


def _signed(gap: float) -> str:
    shown = f"{100 * gap:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", "−")


def score_difference(a: Side, b: Side) -> Difference | None:
    """How much better the second shared model is; None where an interval is missing."""
    if a.score is None or b.score is None or a.interval is None or b.interval is None:
        return None
    return difference(a.score, b.score, a.interval, b.interval)


def about_score(a: Side, b: Side) -> str:
    """Which shared model is better, and whether chance among patients would give as much."""
    if a.score is None or b.score is None:
        return f"There is no {a.record.words.noun} of a shared model in both, so none to compare."
    if a.score == b.score:
        return _about_equals(a, b, a.score)
    better, worse = (a, b) if a.score > b.score else (b, a)
    does = a.record.words.does(max(a.score, b.score), "its test images")
    text = (
        f"The shared model of {better.name} {does}; with that of {worse.name} it is "
        f"{percent(worse.score)}"
    )
    found = score_difference(a, b)  # with the sign that the table has
    if found is None:
        return f"{text}. Whether chance would give as much cannot be said: an interval is missing."
    text += f"; the difference of {b.name} from {a.name} is {points(b.score - a.score)} "
    text += f"(95\u00a0% interval over patients: {ends(found)})"
    if found.beyond_chance:
        return f"{text}. That is more than the choice of test patients would give by chance."
    return f"{text}. The choice of test patients alone could give as much by chance."


def _about_equals(a: Side, b: Side, score: float) -> str:
    """What equal figures leave open."""
    text = f"With both shared models the {a.record.words.noun} on test images is {percent(score)}"
    found = score_difference(a, b)
    if found is None:
        return f"{text}. What chance may hide cannot be said: an interval is missing."
    return (
        f"{text}. By chance, the choice of test patients could hide a difference of {ends(found)} "
        "points (95\u00a0% interval over patients)."
    )


def about_seeds(a: Side, b: Side) -> str:
    """What one run of each cannot show."""
    different = {name for name, _, _ in setting_rows(a, b)}
    if different == {_SEED}:
        return (
            "They differ in the seed alone: what is between them is how far chance in training "
            "moves a run."
        )
    if not different:
        return (
            "With the same settings and seed, only what is not drawn from the seed makes them "
            "differ: faults, other data or machines, the secret noise of private and secure runs."
        )
    return (
        "Each is one run of one seed. Another seed would move its score, too, and one run of "
        "each cannot show how far: repeat both with several seeds before you say that the settings "
        "made the difference."
    )


def about_settings(a: Side, b: Side) -> str:
    """How many settings differ, and which."""
    if not (a.record.settings and b.record.settings):
        return "Their settings cannot be compared: a run folder has no run.yaml."
    names = [name for name, _, _ in setting_rows(a, b)]
    if not names:
        return "All settings are the same."
    if len(names) > 6:
        return f"They differ in {count(len(names), 'setting')}, which stand below."
    return f"They differ in {count(len(names), 'setting')}: {listed(names)}."


def about_costs(a: Side, b: Side) -> str:
    """Traffic and time."""
    told = [
        f"{side.name}: {headline.sent(side.record)} sent, {headline.time(side.record)} for "
        f"{count(side.record.rounds_done, 'round')}"
        for side in (a, b)
    ]
    return f"{'; '.join(told)}."


def about_privacy(a: Side, b: Side) -> str:
    """What each promised to patients."""
    private = [protection.is_private(side.record) for side in (a, b)]
    if not any(private):
        return "Neither was trained with differential privacy."
    told = [f"{side.name}: {protection.in_short(side.record)}" for side in (a, b)]
    return " ".join(told)


def cautions(a: Side, b: Side) -> list[str]:
    """Why the figures of the two may not be comparable."""
    found = [
        f"{side.name} is not finished ({side.record.status}): its figures are those until then."
        for side in (a, b)
        if side.record.status != "finished"
    ]
    if set(a.record.sites) != set(b.record.sites):
        found.append("They had other sites, so their test images are others, too.")
    elif _tested(a) != _tested(b):
        found.append("They were measured on other numbers of test images or patients.")
    elif a.record.holdings() and b.record.holdings() and a.record.holdings() != b.record.holdings():
        found.append("Their sites held other images.")
    return found


def setting_rows(a: Side, b: Side) -> Table:
    """Settings that differ: name, of the first, of the second. The runs' names are left out."""
    one, other = (dict(_flat(side.record.settings)) for side in (a, b))
    names = dict.fromkeys([*one, *other])
    rows = [[name, one.get(name, "not set"), other.get(name, "not set")] for name in names]
    return [row for row in rows if row[1] != row[2] and row[0] != _NAME]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", tables.shown(value)


def _tested(side: Side) -> list[Any]:
    return [side.metrics.get(name) for name in ("test_images", "test_patients")]
