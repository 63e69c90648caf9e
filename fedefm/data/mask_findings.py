"""What the label values of masks give away, corpus by corpus.

A model learns the values 0 (background), 1, 2 and so on. Values that leave gaps, that occur in a
mask or two of many, or that mark all or nothing, are mostly slips of the tool that drew them.
"""

from collections import Counter
from collections.abc import Sequence

from fedefm.data.manifest import Manifest, where
from fedefm.data.row_facts import RowFacts
from fedefm.words import several

RARE = 0.02  # of a corpus' masks
ENOUGH = 50  # masks before a value can be called rare

Facts = Sequence[RowFacts]


def value_counts(manifest: Manifest, facts: Facts) -> dict[str, dict[int, int]]:
    """In how many masks of each corpus each label value occurs."""
    counts: dict[str, Counter[int]] = {}
    for fact in facts:
        if fact.values is not None:
            corpus = manifest.rows[fact.position].corpus
            counts.setdefault(corpus, Counter()).update(fact.values)
    return {corpus: dict(sorted(count.items())) for corpus, count in sorted(counts.items())}


def beyond_classes(manifest: Manifest, facts: Facts, classes: int) -> list[str]:
    """Problems: masks with values that ``classes`` classes (the background is one) do not have."""
    return [
        f"{_where(manifest, fact)}: the mask has the value {max(fact.values)}, which is none of "
        f"{several(classes, 'class', 'classes')}, counted from 0"
        for fact in facts
        if fact.values and max(fact.values) >= classes
    ]


def odd_masks(manifest: Manifest, facts: Facts) -> list[str]:
    """Warnings about values and about masks that mark all or nothing."""
    by_corpus: dict[str, list[RowFacts]] = {}
    for fact in facts:
        if fact.values is not None:
            by_corpus.setdefault(manifest.rows[fact.position].corpus, []).append(fact)
    return [
        warning
        for corpus, masks in sorted(by_corpus.items())
        for warning in (
            *_of_values(manifest, corpus, masks),
            *_of_extent(manifest, corpus, masks),
        )
    ]


def _of_values(manifest: Manifest, corpus: str, masks: Facts) -> list[str]:
    numbering = [fact for fact in masks if fact.many_values]
    if numbering:
        return [
            f"corpus {corpus!r}: {several(len(numbering), 'mask')} of {len(masks)} hold more than "
            f"{len(numbering[0].values or ())} values (first {_where(manifest, numbering[0])}); "
            "do they number objects, or are they pictures?"
        ]
    counts = Counter(value for fact in masks for value in fact.values or ())
    warnings = []
    if max(counts) >= len(counts) + (0 not in counts):
        shown = ", ".join(map(str, sorted(counts)))
        warnings.append(
            f"corpus {corpus!r}: masks hold the values {shown}, which leave gaps; a model counts "
            "its classes 0, 1, 2 and so on"
        )
    for value, count in sorted(counts.items()):
        if value and len(masks) >= ENOUGH and count < RARE * len(masks):
            first = next(fact for fact in masks if value in (fact.values or ()))
            warnings.append(
                f"corpus {corpus!r}: the value {value} is in {several(count, 'mask')} of "
                f"{len(masks)} only (first {_where(manifest, first)})"
            )
    return warnings


def _of_extent(manifest: Manifest, corpus: str, masks: Facts) -> list[str]:
    empty = [fact for fact in masks if fact.values == (0,)]
    full = [fact for fact in masks if 0 not in (fact.values or ())]
    return [
        f"corpus {corpus!r}: {what} in {len(some)} of {several(len(masks), 'mask')} "
        f"(first {_where(manifest, some[0])})"
        for what, some in (("all is background", empty), ("no pixel is background", full))
        if some
    ]


def _where(manifest: Manifest, fact: RowFacts) -> str:
    return where(fact.position, manifest.rows[fact.position])
