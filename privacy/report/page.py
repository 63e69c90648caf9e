"""The officer's page: one offline HTML file, and the same facts as JSON beside it.

No script, no outside resource, and every name from a ledger is escaped. How the page is drawn and
styled is handed in, so that it looks like the other pages of the project.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedefm.config import Adjacency
from fedefm.words import several
from privacy.mechanism import Mechanism
from privacy.report.assumptions import assumptions
from privacy.report.facts import DatasetFacts, Job, SiteFacts
from privacy.report.figure import Draw, spend_figure
from privacy.report.meaning import ADJACENCY, in_words, strength
from privacy.report.numbers import below, day, epsilon, exact, moment, to_the_minute

JOBS_SHOWN = USES_SHOWN = 50  # on the page; the JSON file has all


@dataclass(frozen=True)
class Section:
    """One dataset as the template reads it."""

    facts: DatasetFacts
    anchor: str
    figure: Markup | None

    @property
    def adjacency(self) -> str:
        """In a few words."""
        return f"{ADJACENCY[self.facts.adjacency]} {self.facts.unit}"

    @property
    def adjacency_meaning(self) -> str:
        """As a sentence."""
        return adjacency_meaning(self.facts.adjacency, self.facts.unit)

    @property
    def unit_meaning(self) -> str:
        """What one unit is."""
        if self.facts.unit == "patient":
            return "One patient, with all images under the same pseudonym, however many they are."
        return "One image. A patient with several images is protected less than these numbers say."

    @property
    def meaning(self) -> str:
        """What the epsilon lets somebody find out."""
        facts = self.facts
        return in_words(facts.spent.record, facts.delta, facts.unit)

    @property
    def strength(self) -> str:
        """How the field ranks it."""
        ranked = strength(self.facts.spent.record)
        return f"“How to DP-fy ML” calls it {ranked}." if self.facts.spent.record else "–"

    @property
    def sampling(self) -> str:
        """How units are drawn."""
        unit = self.facts.unit
        return (
            f"Poisson: in every step each {unit} is drawn independently with the same probability; "
            "truncated at a fixed number, which the account knows. Rates and caps stand below."
        )

    @property
    def delta_share(self) -> str:
        """Delta beside the number of units; it should be well below one over that number."""
        numbers = [use.mechanism.dataset_size for use in self.facts.uses]
        if not numbers:
            return ""
        share = self.facts.delta * max(numbers)
        told = exact(float(f"{share:.2g}"))
        return f"{told} of one in {max(numbers):,} {self.facts.unit}s; well below 1 is wanted"

    @property
    def spent_share(self) -> float:
        """Per cent of the cap, for the bar."""
        return self._share(self.facts.spent.record)

    @property
    def reserved_share(self) -> float:
        """Per cent of the cap, for the bar; what does not fit is cut off."""
        return min(self._share(self.facts.reserved), 100 - self.spent_share)

    def _share(self, epsilon: float) -> float:
        return min(100.0, round(100 * epsilon / (self.facts.cap or 1.0), 2))

    @property
    def jobs(self) -> list[list[str]]:
        """Rows, the newest job first."""
        newest = sorted(self.facts.jobs, key=lambda job: job.last, reverse=True)
        return [_job_row(job) for job in newest[:JOBS_SHOWN]]

    @property
    def more_jobs(self) -> int:
        """How many jobs the table leaves out."""
        return max(0, len(self.facts.jobs) - JOBS_SHOWN)

    @property
    def uses(self) -> list[list[str]]:
        """Rows, the most used mechanism first."""
        most = sorted(self.facts.uses, key=lambda use: use.spent + use.reserved, reverse=True)
        return [
            [
                _noise(use.mechanism),
                f"{use.mechanism.sampling_rate:.4g}",
                f"{use.mechanism.dataset_size:,}",
                f"{use.mechanism.batch_cap:,}",
                f"{use.spent:,}",
                f"{use.reserved:,}",
                _some(use.runs),
            ]
            for use in most[:USES_SHOWN]
        ]

    @property
    def more_uses(self) -> int:
        """How many mechanisms the table leaves out."""
        return max(0, len(self.facts.uses) - USES_SHOWN)

    @property
    def accountants(self) -> list[list[str]]:
        """The number of record and its cross-checks."""
        spent = self.facts.spent
        rows = [["PLD", epsilon(spent.record), "the number of record, rounded up"]]
        note = "as if no step left anybody out"
        checks = (
            ("PRV", spent.prv, f"Opacus, {note}"),
            ("RDP", spent.rdp, f"dp-accounting, {note}; looser"),
        )
        for name, value, what in checks:
            rows.append([name, epsilon(value), f"cross-check: {what}" if value else self._why_not])
        return rows

    @property
    def _why_not(self) -> str:
        if self.facts.adjacency != "add_or_remove_one":
            return "not available for replacing one"
        if self.facts.spent.rdp is None:
            return "left out: nothing is spent, or too much for a bound to mean anything"
        return "left out, slow with so many mechanisms; `--certificate` has it"

    @property
    def refunds(self) -> list[list[str]]:
        """Rows, the newest first."""
        newest = sorted(self.facts.refunds, key=lambda refund: refund.when, reverse=True)
        return [[day(r.when), r.name, f"{r.steps:,}", r.reason] for r in newest]

    @property
    def losses(self) -> str:
        """What died."""
        dead = [job for job in self.facts.jobs if job.unsettled]
        if not dead:
            return "No reservation is open: every one was settled or refunded."
        steps = sum(job.unsettled for job in dead)
        names = _some([job.name for job in dead])
        return (
            f"{several(steps, 'step was', 'steps were')} reserved and not settled (runs: {names}). "
            f"{'It counts' if steps == 1 else 'They count'} as spent. "
            "If such a job is not running now, its process died in the middle of training."
        )


def render(site: SiteFacts, draw: Draw, style: str, version: str) -> str:
    """The page as text. ``style`` is the project's style sheet, ``draw`` makes its figures."""
    environment = Environment(
        loader=PackageLoader("privacy"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "epsilon": epsilon,
        "below": below,
        "exact": exact,
        "day": day,
        "moment": moment,
        "number": lambda value: f"{value:,}",
    }
    sections = [_section(place, facts, draw) for place, facts in enumerate(site.datasets)]
    told = assumptions(site.datasets)
    return environment.get_template("privacy.html.j2").render(
        site=site,
        pages=sections,
        style=Markup(style),  # our own file, not a ledger's
        version=version,
        held=[one for one in told if one.covered],
        open=[one for one in told if not one.covered],
    )


def _section(place: int, facts: DatasetFacts, draw: Draw) -> Section:
    figure = Markup(spend_figure(f"spend-{place + 1}", facts, draw)) if facts.moments else None
    return Section(facts, f"dataset-{place + 1}", figure)


def adjacency_meaning(adjacency: Adjacency, unit: str) -> str:
    """The two worlds that must look alike, as a sentence."""
    if adjacency == "replace_one":
        return (
            f"Replacing one: with one {unit} exchanged for another, what left would look nearly "
            "the same. Numbers by this adjacency are larger than by adding or removing one."
        )
    return (
        f"Adding or removing one: with or without one {unit}, what left would look nearly the same."
    )


def as_json(site: SiteFacts) -> str:
    """All facts, as one JSON object; a mechanism stands as its numbers."""
    return json.dumps(_plain(site), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mechanism):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):  # a spend: steps by mechanism
        return [{"mechanism": _plain(key), "steps": steps} for key, steps in value.items()]
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and math.isinf(value):
        return "infinite"
    return value


def _job_row(job: Job) -> list[str]:
    steps = [sum(job.spent.values()), sum(job.reserved.values()), job.unsettled, job.given_back]
    told = [job.name, _short(job.job) or "–", to_the_minute(job.first), to_the_minute(job.last)]
    return [*told, *(f"{number:,}" for number in steps), epsilon(job.epsilon)]


def _noise(mechanism: Mechanism) -> str:
    noise, shares = f"{mechanism.noise_multiplier:.5g}", mechanism.shares
    return noise if shares == 1 else f"{noise}, made by {shares} sites"


def _short(job: str) -> str:
    """The beginning of FLARE's job id, as its console shows it; JSON has all of it."""
    return job if len(job) <= 8 else f"{job[:8]}…"


def _some(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
