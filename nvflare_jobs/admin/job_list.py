"""All jobs that a server knows, as lines for a terminal, however narrow, or for a file."""

from collections.abc import Sequence
from datetime import datetime, timezone

from fedefm.report.numbers import duration, known, plain
from nvflare_jobs.admin.job_facts import JobFacts

HEADS = ("JOB", "STATE", "SUBMITTED", "TOOK", "BY", "NAME")
GAP = "  "


def job_lines(jobs: Sequence[JobFacts], width: int | None = None) -> list[str]:
    """One line a job under a line of heads, or two lines a job where one is wider than ``width``.

    An id is never broken, so that it can be copied. Without a ``width`` every job has one line,
    for whoever searches them.
    """
    rows = [HEADS, *map(_cells, jobs)]
    widest = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = [GAP.join(map(str.ljust, row, widest)).rstrip() for row in rows]
    if width is None or max(map(len, lines)) <= width:
        return lines
    return [line for facts in jobs for line in _two_lines(facts)]


def _two_lines(facts: JobFacts) -> tuple[str, str]:
    _, state, submitted, took, by, name = _cells(facts)
    story = [state, f"submitted {submitted}" if submitted else "", f"took {took}" if took else ""]
    return (
        f"{facts.job}{GAP}{name}",
        f"    {', '.join(filter(None, story))}{f', by {by}' if by else ''}",
    )


def _cells(facts: JobFacts) -> tuple[str, ...]:
    took = plain(duration(facts.seconds)) if known(facts.seconds) else ""
    return facts.job, facts.word, _moment(facts.submitted), took, facts.submitter, facts.name


def _moment(written: str) -> str:
    """As everywhere in UTC; what is no moment stays as it is."""
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return written
    if moment.tzinfo is None:
        return f"{moment:%Y-%m-%d %H:%M}"
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
