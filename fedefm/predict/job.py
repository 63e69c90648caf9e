"""Masks for images that nobody has marked, at the resolution they came in."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from fedefm.data.folders import fresh_folder, refuse_full
from fedefm.errors import DataError, all_problems
from fedefm.finetune.checkpoint import TrainedSegmenter
from fedefm.predict.highdicom_seg import Algorithm, refuse_without_highdicom
from fedefm.predict.latency import Latency, Stopwatch
from fedefm.predict.outputs import Outputs
from fedefm.predict.sources import Clip, Progress, find_clips, outward_links, read_clips

BATCH = 8


@dataclass(frozen=True)
class PredictionSummary:
    """What ``predict`` wrote, what it could not, and how long it took.

    ``marked`` counts the images with a device. Paths are relative to ``folder``. ``unreadable`` has
    a reason for each file that was left out, by its name, or by its number if it is DICOM, and one
    for all ``links`` that lead elsewhere.
    ``notes`` say which SEG could not be made.
    """

    folder: Path
    images: int
    marked: int
    unreadable: dict[str, str] = field(default_factory=dict)
    animations: list[str] = field(default_factory=list)
    segmentations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    latency: Latency | None = None


def predict(
    segmenter: TrainedSegmenter,
    source: Path,
    target: Path,
    progress: Progress | None = None,
    algorithm: Algorithm | None = None,
) -> PredictionSummary:
    """Segment each frame of ``source`` (folder, image or manifest) into the new ``target`` folder.

    ``target`` gets ``masks/`` (PNG of class values, original size), ``overlays/``, ``index.csv``,
    ``clips/`` with an animated GIF of each run of frames and, of DICOM images, ``identified/`` with
    a SEG for each run (if ``algorithm`` says what found it) and the names behind the numbers. Files
    that cannot be read are told in the summary and the others go on.

    Raises DataError if nothing was readable (telling every file) or ``target`` holds something
    already; nothing is written then.
    """
    refuse_full(target)
    clips = find_clips(source)
    clock, unreadable, images, marked = Stopwatch(segmenter, BATCH), outward_links(source), 0, 0
    with fresh_folder(target) as folder:
        with Outputs(folder, segmenter.classes, *_seg_maker(clips, algorithm)) as outputs:
            frames = read_clips(clips, clock.read, unreadable, progress)
            while batch := list(islice(frames, BATCH)):
                masks = clock.segment([frame.image for frame in batch])
                for frame, mask in zip(batch, masks, strict=True):
                    outputs.write(frame, mask)
                images += len(batch)
                marked += sum(bool(mask.any()) for mask in masks)
        if images == 0:
            reasons = list(unreadable.values())
            raise DataError(all_problems(f"{source} with no readable image", reasons))
        return PredictionSummary(
            target,
            images,
            marked,
            unreadable,
            outputs.animations,
            outputs.segmentations,
            outputs.notes,
            clock.latency(),
        )


def _seg_maker(clips: list[Clip], wanted: Algorithm | None) -> tuple[Algorithm | None, list[str]]:
    """What SEGs are made with, and why not; nothing is said where nobody would expect one."""
    if wanted is None or not any(clip.is_dicom for clip in clips):
        return None, []
    try:
        refuse_without_highdicom()
    except DataError as error:
        return None, [str(error)]
    return wanted, []
