"""Divide images between sites so that each sees labels that the others do not.

The label of an image is its kind, as pre-training learns it (``fedefm.data.kinds``).

The papers speak of "X % unseen label corpora" and publish no construction for 0 < X < 100, so this
is the definition used here. Of L labels, m are *common* to all n sites and the others *private*,
dealt out to one site each; m is chosen so that the mean over sites of
``private / (private + common)`` comes closest to X. At X = 1 no label occurs at two sites; at X = 0
every site has every label, and the patients of each label are divided. Every figure of a study
should name the share that was reached (``Division.reached``), not the one that was asked for.

Sites never share a patient. One whose images carry labels private to two sites stays with the site
that has more of them, and the others are left out (``Division.left_out``).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedefm.data.kinds import kinds_of
from fedefm.data.manifest import Manifest, Row
from fedefm.data.splits import assign_splits
from fedefm.errors import DataError
from fedefm.seeding import numpy_generator
from fedefm.words import several

FARTHEST = 0.25  # from the share asked for; beyond it the wish cannot be met


@dataclass(frozen=True)
class Held:
    """A row at a site: ``position`` in the rows of manifest number ``source``."""

    source: int
    position: int
    row: Row  # with its split
    kind: str  # the label that it is divided by


@dataclass(frozen=True)
class Division:
    """Who holds what."""

    asked: float  # share of unseen labels
    seed: int
    common: tuple[str, ...]  # labels that every site has
    private: dict[str, tuple[str, ...]]  # site -> labels of its own
    held: dict[str, tuple[Held, ...]]  # site -> its rows
    left_out: int  # rows whose patient is at a site that may not have their label

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the sites."""
        return tuple(self.private)

    @property
    def reached(self) -> float:
        """The share of unseen labels, as a mean over sites."""
        return _mean_share([len(labels) for labels in self.private.values()], len(self.common))


def site_names(count: int) -> tuple[str, ...]:
    """``site-1`` and so on, as FLARE's simulator calls its sites."""
    if count < 1:
        raise DataError(f"{count} sites is too few; ask for 1 or more")
    return tuple(f"site-{number}" for number in range(1, count + 1))


def split_corpora(
    manifests: Sequence[Manifest], sites: int | Sequence[str], unseen: float, seed: int
) -> Division:
    """Divide the rows of all manifests between ``sites``, ``unseen`` (0 to 1) of labels private.

    A pseudonym that occurs in two manifests is one patient. Rows without split get one, by patient.
    Raises DataError where it cannot be done: too few labels or patients, a site without images to
    train on.
    """
    names = site_names(sites) if isinstance(sites, int) else tuple(sites)
    if not 0 <= unseen <= 1:
        raise DataError(f"the unseen share is {unseen}; it must lie between 0 and 1")
    if not names or len(set(names)) != len(names):
        raise DataError("the sites must have names that differ")
    places = [(s, p) for s, manifest in enumerate(manifests) for p in range(len(manifest.rows))]
    rows = assign_splits([manifests[s].rows[p] for s, p in places], seed)
    kinds = kinds_of(rows)
    common, private = deal_labels(_patients_by_label(rows, kinds), names, unseen, seed)
    homes = _homes(rows, kinds, common, private, seed)
    held: dict[str, list[Held]] = {name: [] for name in names}
    for (source, position), row, kind in zip(places, rows, kinds, strict=True):
        site = homes[row.patient_id]
        if kind in common or kind in private[site]:
            held[site].append(Held(source, position, row, kind))
    _refuse_empty(held)
    kept = {name: tuple(items) for name, items in held.items()}
    left_out = len(rows) - sum(map(len, kept.values()))
    return Division(unseen, seed, common, private, kept, left_out)


def deal_labels(
    patients: Mapping[str, int], sites: Sequence[str], unseen: float, seed: int
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Common labels, and private ones by site, for labels with so many training patients.

    Labels with fewer of them than sites cannot be common, so they are dealt first.
    """
    labels = sorted(patients)
    shuffled = [labels[i] for i in numpy_generator(seed, "labels").permutation(len(labels))]
    shuffled.sort(key=lambda label: patients[label] >= len(sites))  # stable: few patients first
    count = _common_count(len(labels), len(sites), unseen)
    cut = len(labels) - count
    scarce = [label for label in shuffled[cut:] if patients[label] < len(sites)]
    if scarce:
        raise DataError(
            f"label {scarce[0]!r} has {patients[scarce[0]]} patients to train on, too few for "
            f"{len(sites)} sites; use fewer sites or a larger unseen share"
        )
    dealt = {site: tuple(sorted(shuffled[i : cut : len(sites)])) for i, site in enumerate(sites)}
    return tuple(sorted(shuffled[cut:])), dealt


def _common_count(labels: int, sites: int, unseen: float) -> int:
    """How many labels are common so that the private share comes closest to ``unseen``."""

    def distance(common: int) -> float:
        private = [len(range(i, labels - common, sites)) for i in range(sites)]
        return abs(_mean_share(private, common) - unseen)

    # all labels common, or at least one private label for every site
    choices = [labels, *range(labels - sites, -1, -1)]
    best: int = min(choices, key=distance)
    if distance(best) > FARTHEST or (unseen == 1 and best > 0):
        raise DataError(
            f"{several(labels, 'label')} {'is' if labels == 1 else 'are'} too few for {sites} "
            f"sites with an unseen share of {unseen}; "
            "use fewer sites, more corpora or a smaller share"
        )
    return best


def _mean_share(private: Sequence[int], common: int) -> float:
    shares = [own / (own + common) if own + common else 0.0 for own in private]
    return sum(shares) / len(shares)


def _patients_by_label(rows: Sequence[Row], kinds: Sequence[str]) -> dict[str, int]:
    """Patients to train on; a label may have none."""
    named = zip(rows, kinds, strict=True)
    pairs = {(kind, row.patient_id) for row, kind in named if row.split == "train"}
    counts = Counter(kind for kind, _ in pairs)
    return {kind: counts[kind] for kind in {*kinds}}


def _homes(
    rows: Sequence[Row],
    kinds: Sequence[str],
    common: Sequence[str],
    private: Mapping[str, Sequence[str]],
    seed: int,
) -> dict[str, str]:
    """The site of each patient."""
    owner = {label: site for site, labels in private.items() for label in labels}
    votes: dict[str, Counter[str]] = {}
    free: dict[tuple[str, str], set[str]] = {}  # by common label and split
    for row, kind in zip(rows, kinds, strict=True):
        if kind in owner:
            votes.setdefault(row.patient_id, Counter())[owner[kind]] += 1
    homes = {patient: count.most_common(1)[0][0] for patient, count in votes.items()}
    for row, kind in zip(rows, kinds, strict=True):
        if row.patient_id not in homes:
            free.setdefault((kind, row.split), set()).add(row.patient_id)
    for label in common:
        _deal_patients(label, free, homes, tuple(private), seed)
    return homes


def _deal_patients(
    label: str,
    free: Mapping[tuple[str, str], set[str]],
    homes: dict[str, str],
    sites: Sequence[str],
    seed: int,
) -> None:
    """Divide a common label's patients evenly, one split after the other, in one round of turns."""
    turn = 0
    for split in ("train", "validation", "test"):
        waiting = sorted(free.get((label, split), set()) - homes.keys())
        random = numpy_generator(seed, "patients", label, split)
        for index in random.permutation(len(waiting)):
            homes[waiting[index]] = sites[turn % len(sites)]
            turn += 1


def _refuse_empty(held: Mapping[str, Sequence[Held]]) -> None:
    for site, items in held.items():
        if not any(item.row.split == "train" for item in items):
            raise DataError(
                f"site {site!r} would have no images to train on; use fewer sites or more corpora"
            )
