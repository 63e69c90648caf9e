"""One frame as found in a source folder, before it has a pseudonym or a place in a manifest."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedefm.errors import DataError

DrawnMask = Callable[[], NDArray[np.int64]]
"""Gives the (H, W) labels of a mask that no file holds as it is: drawn from lines, or joined from
several files. Raises DataError. Ingest calls it and writes the result; it can be pickled.
"""


@dataclass(frozen=True)
class Found:
    """One frame. ``patient`` is the real identity, if known; it goes no further than ``ingest``."""

    image: Path
    patient: str
    corpus: str
    frame: int = 0
    label: str = ""
    mask: Path | None = None
    drawn: DrawnMask | None = None  # instead of ``mask``
    split: str = ""
    instances: bool = False  # the mask numbers objects; what counts is object or not
    spacing_mm: float | None = None  # side of a pixel, where the set tells it
    note: str = ""  # what its user has to know of how ``patient`` came about

    @property
    def person(self) -> str:
        """Whose frame it is; where that is not known, each file is a person of its own."""
        return self.patient or f"file/{self.image}"


def by_pattern(
    found: Iterable[Found], source: Path, pattern: str, name: Callable[[Path], str] = str
) -> list[Found]:
    """The same frames, their patient read from the path below ``source`` by a regular expression.

    ``name`` is how a message names a file.

    Raises DataError where the expression is wrong, or does not fit a file.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"the patient pattern {pattern!r} is not valid: {error}") from None
    if expression.groups != 1:
        raise DataError(f"the patient pattern {pattern!r} must have one group, such as '^([^/]+)/'")
    base = source if source.is_dir() else source.parent
    return [
        replace(item, patient=_matched(expression, item.image, base, name), note="")
        for item in found
    ]


def _matched(
    expression: re.Pattern[str], path: Path, base: Path, name: Callable[[Path], str]
) -> str:
    match = expression.search(path.relative_to(base).as_posix())
    if match is None or not match.group(1):
        raise DataError(
            f"the patient pattern {expression.pattern!r} finds no patient in {name(path)}"
        )
    return str(match.group(1))
