"""A manifest's images in memory, split by split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.manifest import Manifest
from fedefm.errors import DataError


@dataclass(frozen=True)
class Splits:
    """Training images, and those for validation and test where the manifest has some."""

    train: FrameDataset
    validation: FrameDataset | None
    test: FrameDataset | None

    @property
    def held_out(self) -> dict[str, FrameDataset | None]:
        """What is not trained on, by split."""
        return {"validation": self.validation, "test": self.test}

    def as_frames(self, kind: Callable[[FrameDataset], FrameDataset]) -> "Splits":
        """The same images, handed out in another way."""
        held_out = [None if split is None else kind(split) for split in self.held_out.values()]
        return Splits(kind(self.train), *held_out)


def load_splits(
    manifest: Manifest,
    classes: Sequence[str],
    image_size: int,
    masks: bool = False,
    progress: Progress | None = None,
) -> Splits:
    """Decode a manifest at ``image_size`` squared. Rows without a split are for training.

    Raises DataError where nothing is for training, and as ``FrameDataset.from_manifest`` does.
    """

    def of(split: str) -> FrameDataset:
        return FrameDataset.from_manifest(manifest, split, classes, image_size, masks, progress)

    return splits_of(manifest, of)


def splits_of(manifest: Manifest, of: Callable[[str], FrameDataset]) -> Splits:
    """The splits that a manifest has, each made by ``of(split)``; rows without one are training.

    Raises DataError where nothing is for training, before anything is made.
    """
    names = {row.split for row in manifest.rows}
    training_rows(manifest)
    return Splits(
        train=of("train") if "train" in names else of(""),
        validation=of("validation") if "validation" in names else None,
        test=of("test") if "test" in names else None,
    )


def training_rows(manifest: Manifest) -> tuple[int, ...]:
    """Positions of the rows to train on. Raises DataError where there are none."""
    rows = manifest.of_split("train") or manifest.of_split("")
    if not rows:
        raise DataError(f"the manifest in {manifest.folder} has no rows for training")
    return rows
