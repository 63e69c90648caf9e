"""What two starts came to, domain by domain, with the paired test: a section of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from fedefm.finetune.paired import LEVEL, Outcome, Outcomes, Pair, compare
from fedefm.report.transfer_file import Transfer, read_transfer
from fedefm.train.run_files import TRANSFER

Table = list[list[str]]


@dataclass(frozen=True)
class Way:
    """One way of using both starts: its table, a row a domain, and what its tests say."""

    name: str
    rows: Table
    meaning: str


@dataclass(frozen=True)
class Shown:
    """The whole section."""

    heads: list[str]
    ways: list[Way]
    tests: int  # that were corrected together
    unseen: bool  # whether a domain is


def transfer_shown(folder: Path) -> Shown | None:
    """Of the run in ``folder``; None where nobody compared starts. Raises ConfigError."""
    if not (folder / TRANSFER).exists():
        return None
    told = read_transfer(folder / TRANSFER)
    found = compare(told.ways)
    ways = [
        Way(way, table(told, told.ways[way], outcomes), meaning(told, told.ways[way], outcomes))
        for way, outcomes in found.items()
    ]
    heads = ["Domain", "Measure", *told.starts, "Difference", "p (Holm)"]
    return Shown(heads, ways, sum(_made(each) for each in found.values()), bool(told.unseen))


def table(told: Transfer, pairs: Sequence[Pair], outcomes: Outcomes) -> Table:
    """A row a domain: name, measure, both starts, their difference, p."""
    groups = {domain: [p for p in pairs if p.domain == domain] for domain in outcomes.of_domain}
    return [
        [
            f"{domain} (unseen)" if domain in told.unseen else domain,
            told.measures[domain],
            over_seeds([pair.first for pair in mine]),
            over_seeds([pair.second for pair in mine]),
            over_seeds([pair.difference for pair in mine], sign="+"),
            p_told(outcomes.of_domain[domain]),
        ]
        for domain, mine in groups.items()
    ]


def over_seeds(values: Sequence[float], sign: str = "") -> str:
    """Mean and deviation over the seeds."""
    mean = f"{fmean(values):{sign}.3f}"
    return f"{mean} ± {stdev(values):.3f}" if len(values) > 1 else mean


def p_told(outcome: Outcome) -> str:
    """Holm's p; where there were too few pairs, what it could have been at best."""
    if outcome.corrected is None:
        return f"not tested, {outcome.smallest:.2g} at best"
    return "below 0.001" if outcome.corrected < 0.001 else f"{outcome.corrected:.3f}"


def meaning(told: Transfer, pairs: Sequence[Pair], outcomes: Outcomes) -> str:
    """What may be said of both starts, and how sure it is."""
    first, second = told.starts
    gains = [fmean(p.difference for p in pairs if p.domain == d) for d in outcomes.of_domain]
    whole, domains = outcomes.over_pairs, outcomes.over_domains
    return (
        f"“{second}” scores higher than “{first}” in {sum(gain > 0 for gain in gains)} of the "
        f"{len(gains)} domains, and by {fmean(gains):+.3f} in the mean over them. "
        f"{_sureness(whole, domains)} p over the {whole.pairs} pairs of domain and seed: "
        f"{p_told(whole)} (pairs of one domain are alike, so that it is rather too small); over "
        f"the means of the {domains.pairs} domains: {p_told(domains)}."
    )


def _sureness(*outcomes: Outcome) -> str:
    sure = [each.corrected is not None and each.corrected <= LEVEL for each in outcomes]
    if all(sure):
        return "That is more than chance by both tests."
    if any(sure):
        return "One of two tests takes that for more than chance, and the other does not."
    return "That cannot be told from chance."


def _made(outcomes: Outcomes) -> int:
    """How many tests were made."""
    each = (*outcomes.of_domain.values(), outcomes.over_pairs, outcomes.over_domains)
    return sum(outcome.p is not None for outcome in each)
