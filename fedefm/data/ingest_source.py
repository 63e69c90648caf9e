"""What a source holds: its layout, its frames, and whose they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedefm.data.corpus_name import fault_of
from fedefm.data.file_numbers import FileNumbers
from fedefm.data.found import Found, by_pattern
from fedefm.data.layouts import LAYOUTS, find_layout, masks_without_image, passed_over
from fedefm.data.links import without_outward
from fedefm.errors import DataError, all_problems

SHOWN = 3  # files that a message names


@dataclass(frozen=True)
class Source:
    """What was found, in the order of the layout, patients by their real names."""

    layout: str
    found: tuple[Found, ...]
    passed_over: tuple[Path, ...]  # image files that the layout does not take
    outward: tuple[Path, ...]  # links to what lies outside, and images whose mask is there


def find_source(
    source: Path,
    layout: str,
    corpus: str | None,
    patient_pattern: str | None,
    numbers: FileNumbers,
) -> Source:
    """Links that lead out of the source are not followed: what lies there was not named.

    Raises DataError: nothing found, an unknown layout, a pattern that does not fit, a patient in
    two splits, and image files that ``auto`` would pass over.
    """
    name, found, others, outward = _frames(source, layout)
    if others and layout == "auto":
        raise DataError(_would_lose(source, name, others, numbers))
    if patient_pattern is not None:
        found = by_pattern(found, source, patient_pattern, numbers.name)
        if layout == "auto" and _patients_as_labels(found):
            return find_source(source, "images", corpus, patient_pattern, numbers)
    if corpus is not None:
        found = [replace(item, corpus=corpus) for item in found]
    _refuse_names(found, numbers)
    leaks = _split_leaks(found, numbers.name)
    if leaks:
        raise DataError(all_problems(numbers.source, leaks))
    return Source(name, tuple(found), tuple(others), tuple(outward))


def _frames(source: Path, layout: str) -> tuple[str, list[Found], list[Path], list[Path]]:
    if not source.exists():
        raise DataError(f"source {source} does not exist")
    if layout not in ("auto", *LAYOUTS):
        raise DataError(f"layout {layout!r} is not known; known are auto, {', '.join(LAYOUTS)}")
    try:
        name = find_layout(source) if layout == "auto" else layout
        found = LAYOUTS[name].find(source)
        inside, outward = without_outward(found, source)
        others = [path for path in passed_over(source, name, found) if path not in outward]
        lost = masks_without_image(source, name, found)
    except OSError as error:
        raise DataError(f"source {source} cannot be read: {error.strerror}") from None
    if not inside:
        instead = _but(outward, lost)
        raise DataError(f"source {source} holds no images in the layout {name!r}{instead}")
    return name, inside, others, outward


def _but(outward: Sequence[Path], lost: Sequence[Path]) -> str:
    """What a source without images holds instead, and what to do about it."""
    if outward:
        return " but links to what lies outside of it; copy that there"
    return " but folders for masks; rename those to take what is in them as images" if lost else ""


def _refuse_names(found: Sequence[Found], numbers: FileNumbers) -> None:
    """Corpora and labels come from names of folders, and go into tables that people open."""
    if any(not item.corpus.strip() for item in found):
        raise DataError(f"{numbers.source} has a corpus without a name; name it by --corpus")
    for name in {name for item in found for name in (item.corpus, item.label)}:
        if fault := fault_of(name):
            raise DataError(
                f"{numbers.source} has a corpus or label whose name {fault}; rename its folder, or "
                "name the corpus by --corpus"
            )


def _would_lose(source: Path, layout: str, others: Sequence[Path], numbers: FileNumbers) -> str:
    named = f" ({numbers.names(others, SHOWN)})" if numbers.shown else ", named by --show-paths"
    return (
        f"source {source} looks like the layout {layout!r}, which would pass over "
        f"{len(others)} of its image files{named}; go on without them by "
        f"--layout {layout}, take every image by --layout images, or ingest them apart"
    )


def _patients_as_labels(found: Sequence[Found]) -> bool:
    """Whether folders were taken for classes that the pattern says are patients."""
    return all(item.label == item.patient for item in found)


def _split_leaks(found: Sequence[Found], name: Callable[[Path], str]) -> list[str]:
    """Frames whose patient is also in another split."""
    first: dict[str, Found] = {}
    return [
        f"{name(item.image)}: its patient is in split {item.split!r} here and in {seen.split!r} in "
        f"{name(seen.image)}; a patient belongs to one split"
        for item in found
        if item.split and (seen := first.setdefault(item.person, item)).split != item.split
    ]
