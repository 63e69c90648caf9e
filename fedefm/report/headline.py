"""The figures of a run as a whole, under the same words in report, status page and commands.

A run that has told nothing of a figure has a dash in its place.
"""

from fedefm.report.numbers import data_size, duration
from fedefm.report.record import RunRecord

ROUNDS = "rounds done"
SENT = "sent in all"
TIME = "wall time of its rounds"
NOTHING = "\u2013"


def rounds(record: RunRecord) -> str:
    """How many rounds are over, of how many."""
    planned = f" of {record.rounds_planned}" if record.rounds_planned else ""
    return f"{record.rounds_done}{planned}"


def sent(record: RunRecord) -> str:
    """What everybody together has sent."""
    return data_size(record.sent_bytes) if _has_begun(record) else NOTHING


def time(record: RunRecord) -> str:
    """How long the rounds took that are over."""
    return duration(record.seconds) if record.rounds_done else NOTHING


def line(record: RunRecord) -> str:
    """All of them in one line, as far as they are known."""
    told = [f"{rounds(record)} {ROUNDS}", f"{sent(record)} {SENT}", f"{time(record)} {TIME}"]
    return ", ".join(each for each in told if not each.startswith(NOTHING))


def _has_begun(record: RunRecord) -> bool:
    return any(record.of("round")) or any(record.of("round_finished"))
