"""Pictures of different patients that are one, or look it, told by groups of patients.

A run that was filed under two pseudonyms makes a pair of each of its frames with each of the other:
hundreds of pairs, of which people want to know which patients and which rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from fedefm.data.manifest import FIRST_ROW, Manifest, where
from fedefm.data.near_duplicates import near_duplicates
from fedefm.data.row_facts import RowFacts
from fedefm.words import spans


@dataclass(frozen=True)
class Pair:
    """Positions of two rows of different patients, the smaller first."""

    first: int
    second: int
    equal: bool  # every pixel

    def rows(self) -> list[int]:
        """Their numbers as a spreadsheet shows them."""
        return [self.first + FIRST_ROW, self.second + FIRST_ROW]


def find_pairs(manifest: Manifest, facts: Sequence[RowFacts]) -> list[Pair]:
    """Every two rows of different patients that show the same picture, as far as it can be seen."""
    prints = [(fact, fact.print) for fact in facts if fact.print is not None]
    people: dict[str, int] = {}
    owners = [
        people.setdefault(manifest.rows[fact.position].patient_id, len(people))
        for fact, _ in prints
    ]
    found = near_duplicates([print_ for _, print_ in prints], owners)
    both = ((prints[one][0], prints[other][0]) for one, other in found)
    return [Pair(a.position, b.position, a.digest == b.digest) for a, b in both]


def spoils_figures(manifest: Manifest, pair: Pair) -> bool:
    """Whether the same picture is in two splits: what is learned of one is known of the other."""
    splits = {manifest.rows[position].split for position in (pair.first, pair.second)}
    return pair.equal and len(splits) > 1


def alike_told(manifest: Manifest, pairs: Sequence[Pair]) -> list[str]:
    """A sentence for each group of patients whose pictures are alike, in the order of rows."""
    patients = nx.Graph(
        [(_patient(manifest, pair.first), _patient(manifest, pair.second)) for pair in pairs]
    )
    group_of = {
        patient: number
        for number, group in enumerate(nx.connected_components(patients))
        for patient in group
    }
    groups: dict[int, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(group_of[_patient(manifest, pair.first)], []).append(pair)
    return [_told(manifest, group) for group in groups.values()]


def _told(manifest: Manifest, pairs: Sequence[Pair]) -> str:
    first, second = (where(k, manifest.rows[k]) for k in (pairs[0].first, pairs[0].second))
    splits = [manifest.rows[k].split for k in (pairs[0].first, pairs[0].second)]
    equal = all(pair.equal for pair in pairs)
    if len(pairs) == 1:
        verb = "is" if equal else "looks like"
        told = f"{second}: {verb} the picture of {first}, which is another patient's"
        across = f" in split {splits[0]!r}; this one is in {splits[1]!r}"
        return told + (across if len(set(splits)) > 1 else "")
    rows = sorted({position for pair in pairs for position in (pair.first, pair.second)})
    people = len({_patient(manifest, position) for position in rows})
    verb = "are" if equal else "look like"
    told = (
        f"{len(rows)} images of {people} patients {verb} another patient's: rows "
        f"{spans([position + FIRST_ROW for position in rows])}, such as {second} and {first}"
    )
    names = sorted({repr(manifest.rows[position].split) for position in rows})
    return told + (f"; they are in splits {' and '.join(names)}" if len(names) > 1 else "")


def _patient(manifest: Manifest, position: int) -> str:
    return manifest.rows[position].patient_id
