"""What is wrong with rows of a manifest: row by row, or once where many have the same fault."""

from collections.abc import Iterable

from fedefm.data.manifest import Manifest, where

FEW = 3  # rows of one fault that are named each


def told(manifest: Manifest, faults: Iterable[tuple[int, str]]) -> list[str]:
    """Sentences about positions in ``manifest`` and what is wrong there, as "has no mask".

    A position without a fault has an empty one.
    """
    positions: dict[str, list[int]] = {}
    for position, fault in faults:
        if fault:
            positions.setdefault(fault, []).append(position)
    return [
        sentence
        for fault, found in positions.items()
        for sentence in _told(fault, [where(place, manifest.rows[place]) for place in found])
    ]


def _told(fault: str, rows: list[str]) -> list[str]:
    if len(rows) <= FEW:
        return [f"{row} {fault}" for row in rows]
    named = f"{', '.join(rows[:FEW])} and {len(rows) - FEW} more"
    return [f"{len(rows)} rows ({named}): each {fault}"]
