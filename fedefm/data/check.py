"""Everything that can be wrong with the images of a manifest, found by looking at each of them.

*Problems* make a manifest unusable, or its figures worthless: files that cannot be read, masks that
do not fit, a patient or a picture in two splits. *Warnings* may be as they should: pictures of two
patients that look alike, masks without a device, a class that a split lacks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedefm.data.alike import Pair, alike_told, find_pairs, spoils_figures
from fedefm.data.class_counts import ClassCount, count_classes, missing_classes
from fedefm.data.digests import sha256_of
from fedefm.data.file_pool import finished
from fedefm.data.manifest import FIRST_ROW, Manifest, path_verdicts, structure_problems, where
from fedefm.data.mask_findings import beyond_classes, odd_masks, value_counts
from fedefm.data.row_facts import RowFacts, crashed, facts_of, looks
from fedefm.words import spans

Progress = Callable[[int, int], None]  # frames done, frames in all
WORTH_PROCESSES = 100  # rows; a process takes a second to start


@dataclass(frozen=True)
class Checked:
    """What was found. All sentences name row and path, never a patient; one tells of many rows."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    mask_values: dict[str, dict[int, int]]  # corpus -> label value -> masks that hold it
    classes: dict[str, ClassCount]
    alike: tuple[Pair, ...]  # all that the sentences on pictures of other patients draw together
    constant: tuple[int, ...]  # positions of images of one gray


def check_manifest(
    manifest: Manifest, hashes: bool = False, progress: Progress | None = None
) -> list[str]:
    """The problems alone; an empty list if there are none."""
    return list(look_over(manifest, hashes, progress=progress).problems)


def look_over(
    manifest: Manifest,
    hashes: bool = False,
    classes: int | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> Checked:
    """Decode every frame and mask of a manifest and tell all that is wrong or odd.

    Nothing outside the manifest's folder is opened.

    Args:
        hashes: compare files with their ``sha256``, too.
        classes: how many values masks may have, the background among them; any number if None.
        processes: how many decode; with more than one, a script must guard its main module.
    """
    usable = {path for path, verdict in path_verdicts(manifest).items() if not verdict}
    facts = _facts(manifest, usable, processes, progress)
    sound = [fact for fact in facts if not fact.fault]
    pairs = find_pairs(manifest, sound)
    same = [pair for pair in pairs if spoils_figures(manifest, pair)]
    alike = [pair for pair in pairs if pair not in same]
    constant = [fact.position for fact in sound if fact.constant]
    return Checked(
        problems=(
            *structure_problems(manifest),
            *(f"{_where(manifest, fact.position)}: {fact.fault}" for fact in facts if fact.fault),
            *(beyond_classes(manifest, sound, classes) if classes else ()),
            *alike_told(manifest, same),
            *(_changed_files(manifest, usable) if hashes else ()),
        ),
        warnings=(
            *alike_told(manifest, alike),
            *_constant(manifest, constant),
            *odd_masks(manifest, sound),
            *missing_classes(manifest.rows),
        ),
        mask_values=value_counts(manifest, sound),
        classes=count_classes(manifest.rows),
        alike=tuple(pairs),
        constant=tuple(constant),
    )


def _facts(
    manifest: Manifest, usable: set[str], processes: int, progress: Progress | None
) -> list[RowFacts]:
    """What there is to know of each row whose paths may be opened, in the order of rows."""
    rows = [
        (position, row)
        for position, row in enumerate(manifest.rows)
        if {row.path, row.mask_path or row.path} <= usable
    ]
    tasks = looks(manifest.folder, rows)
    facts: list[RowFacts] = []
    if len(rows) < WORTH_PROCESSES:
        processes = 1
    for some in finished(facts_of, tasks, processes, crashed):
        facts += some
        if progress:
            progress(len(facts), len(rows))
    return sorted(facts, key=lambda fact: fact.position)


def _constant(manifest: Manifest, positions: Sequence[int]) -> list[str]:
    corpora: dict[str, list[int]] = {}
    for position in positions:
        corpora.setdefault(manifest.rows[position].corpus, []).append(position)
    return [
        f"{_where(manifest, some[0])}: all pixels of the image are equal"
        if len(some) == 1
        else f"corpus {corpus!r}: all pixels of the image are equal in {len(some)} images, rows "
        f"{spans([position + FIRST_ROW for position in some])}"
        for corpus, some in corpora.items()
    ]


def _changed_files(manifest: Manifest, usable: set[str]) -> list[str]:
    problems = []
    seen: dict[str, str] = {}
    for position, row in enumerate(manifest.rows):
        if not row.sha256 or row.path not in usable:
            continue
        if row.path not in seen:
            seen[row.path] = sha256_of(manifest.folder / row.path)
        if seen[row.path] != row.sha256:
            problems.append(
                f"{where(position, row)}: the file has changed since its sha256 was taken"
            )
    return problems


def _where(manifest: Manifest, position: int) -> str:
    return where(position, manifest.rows[position])
