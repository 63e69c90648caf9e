"""The report of a division: which site holds how much of which corpus."""

from typing import Any

from rich.table import Table

from fedefm.data.corpora import Division
from fedefm.data.manifest import SPLITS


def holdings(division: Division) -> dict[str, Any]:
    """Who holds what, ready for JSON: counts only, no patients."""
    return {
        "unseen_asked": division.asked,
        "unseen_reached": round(division.reached, 4),
        "seed": division.seed,
        "common": list(division.common),
        "left_out": division.left_out,
        "sites": {site: _site(division, site) for site in division.sites},
    }


def holdings_table(division: Division) -> Table:
    """Sites by labels, in images to train, validate and test on."""
    counts = {site: _site(division, site)["labels"] for site in division.sites}
    labels = sorted({label for held in counts.values() for label in held})
    table = Table(title=f"images (train / validation / test), {_share(division)}")
    table.add_column("label")
    for site in division.sites:
        table.add_column(site, justify="right")
    for label in labels:
        cells = [_cell(counts[site].get(label)) for site in division.sites]
        table.add_row(label + (" (common)" if label in division.common else ""), *cells)
    return table


def holdings_text(division: Division) -> list[str]:
    """The same as plain lines, for logs and pipes."""
    lines = [f"{_share(division)}; images are train / validation / test"]
    for site in division.sites:
        for label, count in _site(division, site)["labels"].items():
            common = ", common" if label in division.common else ""
            lines.append(f"{site}: {label}: {_cell(count)} of {count['patients']} patients{common}")
    return lines


def _site(division: Division, site: str) -> dict[str, Any]:
    labels: dict[str, dict[str, int]] = {}
    patients: dict[str, set[str]] = {}
    for held in division.held[site]:
        count = labels.setdefault(held.kind, dict.fromkeys((*SPLITS, "patients"), 0))
        count[held.row.split] += 1
        patients.setdefault(held.kind, set()).add(held.row.patient_id)
    for label, people in patients.items():
        labels[label]["patients"] = len(people)
    return {"private": list(division.private[site]), "labels": dict(sorted(labels.items()))}


def _share(division: Division) -> str:
    return f"unseen labels: {division.reached:.0%} (asked for {division.asked:.0%})"


def _cell(count: dict[str, int] | None) -> str:
    return " / ".join(str(count[split]) for split in SPLITS) if count else "-"
