"""Patients set aside for validation and test, so that every class keeps its shares.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label
Data", ECML PKDD 2011), with patients in place of samples: the class with the fewest patients left
is dealt first, each of its patients to the split that still wants most of that class. Two steps are
added. A class with a patient for each split wants at least one in each; and where the patients of
several classes got in each other's way, single patients move until no class can be helped.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fedefm.data.class_counts import classes_of
from fedefm.data.manifest import SPLITS, Manifest, Row, read_manifest, write_manifest
from fedefm.errors import DataError
from fedefm.seeding import numpy_generator

Fractions = tuple[float, float, float]  # of the patients, for each of SPLITS; their sum is 1


def parse_fractions(text: str) -> Fractions:
    """``70/15/15`` as shares. Raises DataError where it is something else."""
    try:
        parts = [float(part) for part in text.split("/")]
    except ValueError:
        parts = []
    total = sum(parts)
    if len(parts) != 3 or not all(0 <= part <= 100 for part in parts) or parts[0] == 0:
        raise DataError(
            f"fractions {text!r} must be three numbers for train/validation/test, such as 70/15/15"
        )
    if abs(total - 100) > 1e-6 and abs(total - 1) > 1e-6:
        raise DataError(f"fractions {text!r} add up to {total:g}; they must add up to 100")
    return parts[0] / total, parts[1] / total, parts[2] / total


def write_holdout(
    manifest: Path, out: Path, fractions: Fractions, seed: int, anew: bool = False
) -> Manifest:
    """Write the manifest with its splits filled to ``out``, whole or not at all.

    Raises DataError: a manifest that cannot be used, one whose rows all have a split (without
    ``anew``), an ``out`` in another folder or that is another file already.
    """
    source = read_manifest(manifest)
    if out.resolve().parent != source.folder:
        raise DataError(f"{out} must be in the folder of {manifest}: paths in it start from there")
    if out.exists() and not out.samefile(manifest):
        raise DataError(f"{out} exists already; name a new file, or {manifest} to replace that")
    rows = [replace(row, split="") for row in source.rows] if anew else source.rows
    if all(row.split for row in rows):
        raise DataError(f"every row of {manifest} has a split; --anew draws all of them anew")
    done = Manifest(source.folder, tuple(hold_out(rows, fractions, seed)))
    try:
        write_manifest(out, done.rows)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from None
    return done


def hold_out(rows: Sequence[Row], fractions: Fractions, seed: int) -> list[Row]:
    """The rows in their order, with ``split`` filled where it was empty.

    A patient is in one split, and keeps one given anywhere in ``rows``. For patients of one class
    each, a split has its share of every class to within one patient, except that a class with as
    many patients as there are splits (with a share above 0) is in all of them.
    """
    classes: dict[str, set[str]] = {}
    for row, names in zip(rows, classes_of(rows), strict=True):
        classes.setdefault(row.patient_id, set()).update(names)
    given = {row.patient_id: row.split for row in rows if row.split}
    splits = _Deal(classes, fractions, given).dealt(seed)
    return [row if row.split else replace(row, split=splits[row.patient_id]) for row in rows]


class _Deal:
    """Patients on their way into splits."""

    def __init__(
        self,
        classes: Mapping[str, set[str]],  # by patient
        fractions: Fractions,
        given: Mapping[str, str],
    ) -> None:
        self._classes = classes
        self._shares = {
            split: share for split, share in zip(SPLITS, fractions, strict=True) if share > 0
        }
        self._splits = tuple(self._shares)
        self._patients = Counter(name for names in classes.values() for name in names)
        self._home = dict(given)
        self._fixed = frozenset(given)
        self._holds: Counter[tuple[str, str]] = Counter()  # patients by class and split
        self._size: Counter[str] = Counter()
        for patient, split in given.items():
            self._place(patient, split)

    def dealt(self, seed: int) -> dict[str, str]:
        """The split of each patient."""
        names = sorted(self._classes)
        order = [names[k] for k in numpy_generator(seed, "holdout").permutation(len(names))]
        waiting = [patient for patient in order if patient not in self._home]
        while waiting:
            left = Counter(name for patient in waiting for name in self._classes[patient])
            rarest = min(left, key=lambda name: (left[name], name))
            for patient in [p for p in waiting if rarest in self._classes[p]]:
                self._place(patient, max(self._splits, key=lambda s: self._wish(rarest, s)))
            waiting = [patient for patient in waiting if patient not in self._home]
        self._mend(order)
        return self._home

    def _place(self, patient: str, split: str) -> None:
        self._home[patient] = split
        self._size[split] += 1
        self._holds.update((name, split) for name in self._classes[patient])

    def _remove(self, patient: str) -> None:
        split = self._home.pop(patient)
        self._size[split] -= 1
        self._holds.subtract((name, split) for name in self._classes[patient])

    def _wish(self, name: str, split: str) -> tuple[float, float]:
        """How many patients of a class a split still wants, then how many patients at all."""
        total = len(self._classes) * self._shares[split]
        return self._wanted(name)[split] - self._holds[name, split], total - self._size[split]

    def _wanted(self, name: str) -> dict[str, float]:
        """A class' patients by split: its shares, but one at least where there are enough."""
        count = self._patients[name]
        wanted = {split: share * count for split, share in self._shares.items()}
        if count < len(wanted):
            return wanted
        raised = {split: max(number, 1.0) for split, number in wanted.items()}
        largest = max(raised, key=lambda split: raised[split])
        raised[largest] -= sum(raised.values()) - count
        return raised

    def _mend(self, order: Sequence[str]) -> None:
        """Move patients into splits that lack a class, as long as fewer classes are lacking."""
        movable = [patient for patient in order if patient not in self._fixed]
        lacking = self._lacking()
        while lacking:
            name, split = lacking[0]
            best = min(
                (patient for patient in movable if name in self._classes[patient]),
                key=lambda patient: self._lacking_after(patient, split),
                default=None,
            )
            if best is None or self._lacking_after(best, split) >= len(lacking):
                return
            self._remove(best)
            self._place(best, split)
            lacking = self._lacking()

    def _lacking(self) -> list[tuple[str, str]]:
        """Classes with enough patients, and the splits that have none of them."""
        return [
            (name, split)
            for name, count in sorted(self._patients.items())
            if count >= len(self._splits)
            for split in self._splits
            if not self._holds[name, split]
        ]

    def _lacking_after(self, patient: str, split: str) -> int:
        before = self._home[patient]
        self._remove(patient)
        self._place(patient, split)
        count = len(self._lacking())
        self._remove(patient)
        self._place(patient, before)
        return count
