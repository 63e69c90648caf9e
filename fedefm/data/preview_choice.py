"""Which frames a contact sheet shows: some of each corpus and class, of many patients."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedefm.data.class_counts import classes_of
from fedefm.data.manifest import Manifest
from fedefm.errors import DataError


@dataclass(frozen=True)
class Strip:
    """The frames of one class of a corpus."""

    corpus: str
    name: str  # of the class; empty where the corpus has no labels
    positions: tuple[int, ...]


def strips_of(manifest: Manifest, corpus: str | None, split: str | None) -> list[Strip]:
    """By corpus and class, sorted; a frame of several classes is in each of their strips.

    ``corpus`` and ``split`` leave only theirs. Raises DataError where nothing is left.
    """
    classes = classes_of(manifest.rows)
    found: dict[tuple[str, str], list[int]] = {}
    for position in _wanted(manifest, corpus, split):
        of = manifest.rows[position].corpus
        for name in classes[position]:
            found.setdefault((of, "" if name == of else name), []).append(position)
    return [Strip(of, name, tuple(places)) for (of, name), places in sorted(found.items())]


def spread_over_patients(manifest: Manifest, positions: Sequence[int], count: int) -> list[int]:
    """Up to ``count`` of the positions, in their order.

    Patients are taken evenly from first to last, each with the middle one of its frames; further
    frames of a patient come only when every patient has one.
    """
    frames: dict[str, list[int]] = {}
    for position in positions:
        frames.setdefault(manifest.rows[position].patient_id, []).append(position)
    if len(frames) >= count:
        people = list(frames.values())
        return [mine[len(mine) // 2] for mine in _evenly(people, count)]
    most = -(-count // len(frames))
    rounds = [_evenly(mine, most) for mine in frames.values()]
    taken = [mine[k] for k in range(most) for mine in rounds if k < len(mine)]
    known = set(taken)
    taken += [position for position in positions if position not in known]
    return sorted(taken[:count])


def _evenly(items: Sequence, count: int) -> list:  # type: ignore[type-arg]
    step = max(len(items) / count, 1)
    return [items[int(k * step)] for k in range(min(count, len(items)))]


def _wanted(manifest: Manifest, corpus: str | None, split: str | None) -> list[int]:
    wanted = [
        position
        for position, row in enumerate(manifest.rows)
        if corpus in (None, row.corpus) and split in (None, row.split)
    ]
    if not wanted:
        corpora = ", ".join(sorted({row.corpus for row in manifest.rows}))
        splits = ", ".join(sorted({row.split or "(none)" for row in manifest.rows}))
        asked = " and ".join(
            f"{name} {value!r}"
            for name, value in (("corpus", corpus), ("split", split))
            if value is not None
        )
        raise DataError(
            f"the manifest in {manifest.folder} has no rows of {asked}; its corpora are {corpora}, "
            f"its splits {splits}"
        )
    return wanted
