"""How many images and patients of each class there are, by corpus and by split."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedefm.data.kinds import names_in
from fedefm.data.manifest import SPLITS, Row
from fedefm.words import several

MANY = 10  # classes lacking in a split, of which not each is told
NONE = "(none)"  # of the names, in a corpus whose other rows have some


@dataclass
class ClassCount:
    """Of one class: images by split ("" where none is given), and its patients."""

    images: dict[str, int] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set)


def classes_of(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The classes of each row: the names in its label or, in a corpus without labels, the corpus.

    A row without names in a corpus that has some is of the class NONE.
    """
    labeled = {row.corpus for row in rows if row.label}
    return [
        names_in(row.label) or ((NONE,) if row.corpus in labeled else (row.corpus,)) for row in rows
    ]


def count_classes(rows: Sequence[Row]) -> dict[str, ClassCount]:
    """By class, sorted; a row of several classes counts for each of them."""
    counts: dict[str, ClassCount] = {}
    for row, names in zip(rows, classes_of(rows), strict=True):
        for name in names:
            count = counts.setdefault(name, ClassCount())
            count.images[row.split] = count.images.get(row.split, 0) + 1
            count.patients.add(row.patient_id)
    return dict(sorted(counts.items()))


def missing_classes(rows: Sequence[Row]) -> list[str]:
    """A sentence for each class that a split lacks, where the manifest has splits at all.

    Where a split lacks many, as when labels are numbers to be told, one sentence for all.
    """
    counts = count_classes(rows)
    told = []
    for split in (split for split in SPLITS if any(row.split == split for row in rows)):
        lacking = {name: one for name, one in counts.items() if split not in one.images}
        if len(lacking) > MANY:
            first = next(iter(lacking))
            told.append(f"{len(lacking)} classes have no image in split {split!r}, as {first!r}")
            continue
        told += [
            f"class {name!r} has no image in split {split!r}, but "
            f"{several(sum(count.images.values()), 'image')} of "
            f"{several(len(count.patients), 'patient')} in all"
            for name, count in lacking.items()
        ]
    return told
