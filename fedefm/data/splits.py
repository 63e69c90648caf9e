"""Train, validation and test by patient, for rows whose manifest does not say.

Stratified by label, seeded, and independent of how patients are later divided between sites: the
test images of a study stay the same for any number of sites and any share of unseen labels.
"""

from collections.abc import Sequence
from dataclasses import replace

from fedefm.data.manifest import Row
from fedefm.seeding import numpy_generator

SHARES = (0.15, 0.2)  # of a label's patients, for validation and test


def assign_splits(
    rows: Sequence[Row], seed: int, shares: tuple[float, float] = SHARES
) -> list[Row]:
    """The rows in their order, with ``split`` filled where it was empty.

    Each label gives at least one patient to test if it has two, and one to validation if it has
    three. A patient keeps a split given anywhere in ``rows``; one with several labels is counted
    under the first of them (by name).
    """
    given = {row.patient_id: row.split for row in rows if row.split}
    for label, patients in sorted(_open_patients(rows, given).items()):
        order = numpy_generator(seed, "split", label).permutation(len(patients))
        count = len(patients)
        tests = max(round(count * shares[1]), 1) if count > 1 else 0
        held_out = tests + (max(round(count * shares[0]), 1) if count > 2 else 0)
        for place, index in enumerate(order):
            split = "test" if place < tests else "validation" if place < held_out else "train"
            given[patients[index]] = split
    return [row if row.split else replace(row, split=given[row.patient_id]) for row in rows]


def _open_patients(rows: Sequence[Row], given: dict[str, str]) -> dict[str, list[str]]:
    """Patients without a split, sorted, under the first of their labels (or sets of labels)."""
    label_of: dict[str, str] = {}
    for row in rows:
        if row.patient_id not in given:
            label = row.label or row.corpus
            label_of[row.patient_id] = min(label_of.get(row.patient_id, label), label)
    found: dict[str, list[str]] = {}
    for patient in sorted(label_of):
        found.setdefault(label_of[patient], []).append(patient)
    return found
