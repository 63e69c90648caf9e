"""One thing that was looked at: how it is, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

from fedefm.words import several

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """``said`` is how it is, ``fix`` what mends it; empty where all is well."""

    check: str
    verdict: Verdict
    said: str
    fix: str = ""

    @property
    def line(self) -> str:
        """The finding as one line of text."""
        said = " ".join(self.said.split())
        return f"{said}; {' '.join(self.fix.split())}" if self.fix else said


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", said)


def warning(check: str, said: str, fix: str = "") -> Finding:
    """A run is possible, and something should be seen to."""
    return Finding(check, "warning", said, fix)


def problem(check: str, said: str, fix: str = "") -> Finding:
    """No run is possible, or it would not be as it should."""
    return Finding(check, "problem", said, fix)


def summary(findings: "list[Finding]") -> str:
    """How many problems and warnings there are, in one line."""
    problems = sum(finding.verdict == "problem" for finding in findings)
    warnings = sum(finding.verdict == "warning" for finding in findings)
    return f"{several(problems, 'problem')}, {several(warnings, 'warning')}"


def has_problems(findings: "list[Finding]") -> bool:
    """Whether anything must be mended first."""
    return any(finding.verdict == "problem" for finding in findings)
