"""What a site's answer to the coordinator may hold: each name, its form, and the metric it is.

A site's filter goes by this list. A name that does not stand here does not leave, nor does a number
whose metric the site's own file keeps.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedefm.config import PolicyConfig, RunConfig
from fedefm.errors import PolicyRefused
from nvflare_jobs.parties.reasons import LONGEST as LONGEST

# Never told by a private site; how long a step takes tells how many patients were drawn.
MEASURED_IN_TRAINING = frozenset({"loss", "similarity", "seconds"})
# Never told by a single site where sums are secure; the run adds them up over all sites instead.
ADDED_UP = frozenset({"loss", "accuracy", "images", "similarity"})
LONGEST_COMPLAINT = 500  # others may have caused it, and chosen its words
MOST_COMPLAINTS = 50  # of one round
Form = Callable[[Any], bool]


def few(complaints: Sequence[str]) -> list[str]:
    """What a report can hold of them, however many and long a peer has made them."""
    shortened = [
        each if len(each) <= LONGEST_COMPLAINT else each[: LONGEST_COMPLAINT - 3] + "..."
        for each in complaints[:MOST_COMPLAINTS]
    ]
    return [*shortened, "and more"] if len(complaints) > MOST_COMPLAINTS else shortened


def is_number(value: Any) -> bool:
    """A number, and neither yes nor no."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    """A name or some sentences."""
    return isinstance(value, str) and len(value) <= LONGEST


def is_word(value: Any) -> bool:
    """A number, a name, or nothing."""
    return value is None or is_number(value) or is_text(value)


def listed(form: Form) -> Form:
    """A list of such."""
    return lambda value: isinstance(value, list | tuple) and all(form(each) for each in value)


def named(form: Form) -> Form:
    """Such by name."""
    return lambda value: (
        isinstance(value, dict) and all(is_text(k) and form(v) for k, v in value.items())
    )


def either(*forms: Form) -> Form:
    """One of several."""
    return lambda value: any(form(value) for form in forms)


@dataclass(frozen=True)
class Part:
    """The form of what stands under a name, and the metrics that must be allowed for it.

    Where they are not, only an empty value may stand there.
    """

    form: Form
    metrics: frozenset[str] = frozenset()


def _metrics(*names: str) -> frozenset[str]:
    return frozenset(names)


PARTS: Mapping[str, Part] = {
    "refused": Part(is_text),
    "reason": Part(is_word),
    "saved": Part(listed(is_number)),
    "holdings": Part(named(named(is_number)), _metrics("images")),
    "loss": Part(is_word, _metrics("loss")),
    "learning_rate": Part(is_word),
    "similarity": Part(named(is_number), _metrics("similarity")),
    "unheard": Part(listed(is_text)),
    "rejected": Part(listed(is_text)),
    "sent_bytes": Part(is_number),
    "received_bytes": Part(is_number),
    "seconds": Part(is_number, _metrics("seconds")),
    "exchange_seconds": Part(is_number, _metrics("seconds")),
    "measured": Part(named(named(listed(is_number))), _metrics("accuracy", "images")),
    "ledger_head": Part(named(either(is_number, is_text))),
    "planned": Part(named(either(is_word, named(is_word)))),
    "budget": Part(named(is_word), _metrics("budget")),  # allowed by no site that does not say so
    "privacy": Part(named(either(is_word, listed(named(is_word))))),
}


def tellable(policy: PolicyConfig, run: RunConfig, private: bool = False) -> frozenset[str]:
    """The metrics that may leave a site by itself in this run.

    They are allowed by the site, not of training images if the site is ``private`` (which it is at
    least where the run is), and none of those that a run with secure sums adds up.
    """
    kept = frozenset[str]()
    if private or run.privacy.dp is not None:
        kept |= MEASURED_IN_TRAINING
    if run.privacy.secagg is not None:
        kept |= ADDED_UP
    return frozenset(policy.allowed_metrics) - kept


def check_answer(answer: Mapping[str, Any], tellable: Collection[str], private: bool) -> None:
    """Raises PolicyRefused where ``answer`` holds more than the site may tell.

    ``tellable`` are the metrics that may leave. A ``private`` site does not say what it holds.
    """
    for name, value in answer.items():
        part = PARTS.get(name)
        if part is None:
            raise PolicyRefused(f"an answer has {name!r}, which no site tells")
        if not part.form(value):
            raise PolicyRefused(f"an answer has {name!r} in a form that no site tells it in")
        kept = part.metrics - frozenset(tellable)
        if value and (kept or (private and name == "holdings")):
            why = f"the site keeps {', '.join(sorted(kept))}" if kept else "the run is private"
            raise PolicyRefused(f"an answer has {name!r}, and {why}")
