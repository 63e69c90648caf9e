"""The entries for people and other programs: a table, or everything with hashes and signatures."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from privacy.ledger.entry import Entry

COLUMNS = (
    "sequence", "time", "kind", "dataset", "unit", "run_name", "run_id", "job", "steps", "refers",
    "noise_multiplier", "sampling_rate", "dataset_size", "batch_cap", "shares", "cap", "delta",
    "adjacency", "reason", "site", "previous", "hash", "signature",
)  # fmt: skip


def to_csv(entries: Iterable[Entry]) -> str:
    """One line an entry, under a line of column names."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(_line(entry) for entry in entries)
    return text.getvalue()


def to_json(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Each entry's record with its hash and signature, ready for ``json.dumps``.

    SHA-256 over the record without these two, as JSON with sorted keys and no spaces, is the hash.
    """
    return [
        {**entry.to_json(), "hash": entry.hash, "signature": entry.signature} for entry in entries
    ]


def _line(entry: Entry) -> dict[str, Any]:
    record = json.loads(entry.record)
    line = {name: value for name, value in record.items() if name in COLUMNS}
    for part in ("mechanism", "budget"):
        line.update(record.get(part, {}))
    if entry.dataset is not None:
        line.update(dataset=entry.dataset.name, unit=entry.dataset.unit)
    if entry.run is not None:
        line.update(run_name=entry.run.name, run_id=entry.run.run_id, job=entry.run.job)
    if entry.genesis is not None:
        line["site"] = entry.genesis.site
    line.update(hash=entry.hash, signature=entry.signature)
    return {name: _harmless(value) for name, value in line.items()}


def _harmless(value: Any) -> Any:
    # a spreadsheet would run a text that begins like this as a formula
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
