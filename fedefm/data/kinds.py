"""The kind of each frame: the one class that a foundation model learns it as.

Kinds exclude each other, labels need not: several lines can run through one chest. In the manifest,
``label`` joins the names of all that a frame has by ``|``.
"""

from collections.abc import Collection, Sequence

from fedefm.config.names import UNLABELED
from fedefm.data.manifest import Row

SEPARATOR = "|"


def names_in(label: str) -> tuple[str, ...]:
    """The names that a manifest's ``label`` joins, each once."""
    return tuple(dict.fromkeys(name.strip() for name in label.split(SEPARATOR) if name.strip()))


def kinds_of(rows: Sequence[Row], classes: Collection[str] = ()) -> list[str]:
    """The kind of each row: its label or, where that is empty, its corpus.

    A whole corpus is one kind, called as it is, where some of its frames have several labels, or
    where ``classes`` name the corpus and none of its labels: then labels are not what tells kinds
    apart. Else each set of labels would be a kind of its own. Where ``classes`` are UNLABELED and
    nothing else, all rows are of that kind.
    """
    if tuple(classes) == (UNLABELED,):
        return [UNLABELED] * len(rows)
    labels: dict[str, set[str]] = {}
    several: set[str] = set()
    for row in rows:
        names = names_in(row.label)
        labels.setdefault(row.corpus, set()).update(names)
        if len(names) > 1:
            several.add(row.corpus)
    named = {corpus for corpus in labels if corpus in classes and not labels[corpus] & {*classes}}
    whole = several | named
    return [
        row.corpus if row.corpus in whole else next(iter(names_in(row.label)), row.corpus)
        for row in rows
    ]
