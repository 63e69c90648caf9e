"""A folder of simulated fluoroscopy, ready to train on: frames, masks and a manifest.

Stills are PNG files, one a frame. A run of frames is one multi-page TIFF with a mask of as many
pages; its frame rate stands in the image description, in the words of ImageJ, which plays it.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fedefm.data.fluoroscopy import Frame, check_size, is_negative, simulate_frame
from fedefm.data.folders import fresh_folder, refuse_full
from fedefm.data.manifest import SPLITS, Manifest, Row, read_manifest, write_manifest
from fedefm.data.readers import MOST_PAGES
from fedefm.data.xray_domains import find_domain
from fedefm.data.xray_sequence import Sequence as Run
from fedefm.data.xray_sequence import check_rate
from fedefm.errors import DataError
from fedefm.seeding import numpy_generator

# Shares of a domain's patients; whoever is not here is in training.
VALIDATION = TEST = 0.15
LEAST_BYTES = 0.05  # of a pixel, compressed; 0.18 to 0.76 were measured
_DESCRIPTION = 270  # TIFF tag
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Wanted:
    """What ``write_dataset`` draws.

    With a ``rate`` (frames a second) the frames of a patient are one run; else each is a still with
    a device of its own. ``negatives`` is the share of stills, or of runs, without a device.
    """

    patients: int
    frames: int
    size: int
    seed: int
    distractors: bool = False
    negatives: float | None = None
    rate: float | None = None


def write_dataset(
    folder: Path,
    domains: Sequence[str],
    patients: int,
    frames_per_patient: int,
    size: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    distractors: bool = False,
    negatives: float | None = None,
    rate: float | None = None,
) -> Manifest:
    """Simulates ``patients`` of each domain and writes them to ``folder``, whole or not at all.

    The corpus of a row is its domain, and its label is left empty. Patients are split 70/15/15,
    with one at least in each split where there are three or more; no patient is in two.
    ``progress`` gets the number of frames done and of all. The same arguments write the same bytes.
    ``distractors``, ``negatives`` and ``rate`` are those of :class:`Wanted`.
    Raises DataError for an unknown domain, impossible numbers, more than the disk can hold, or a
    folder that already holds something.
    """
    wanted = Wanted(patients, frames_per_patient, size, seed, distractors, negatives, rate)
    _check(domains, wanted)
    refuse_full(folder)
    _refuse_more_than_fits(folder, len(domains), wanted)
    with fresh_folder(folder) as unfinished:
        rows = []
        total = len(domains) * patients * frames_per_patient
        for row in _write_frames(unfinished, domains, wanted):
            rows.append(row)
            if progress is not None:
                progress(len(rows), total)
        write_manifest(unfinished / "manifest.csv", rows)
    return read_manifest(folder / "manifest.csv")


def split_of_patients(domain: str, patients: int, seed: int) -> tuple[str, ...]:
    """The split of each of a domain's patients, drawn once."""
    held_out = [int(share * patients + 0.5) for share in (VALIDATION, TEST)]
    if patients >= len(SPLITS):
        held_out = [max(1, count) for count in held_out]
    train, validation, test = SPLITS
    names = [validation] * held_out[0] + [test] * held_out[1]
    names += [train] * (patients - len(names))
    order = numpy_generator(seed, "simulated", domain, "splits").permutation(patients)
    return tuple(names[place] for place in order)


def frames_a_second(path: Path) -> float | None:
    """The frame rate that a run's TIFF tells, or None where it tells none."""
    with Image.open(path) as image:
        told = getattr(image, "tag_v2", {}).get(_DESCRIPTION, "")
    rates = [line[4:] for line in str(told).splitlines() if line.startswith("fps=")]
    return float(rates[0]) if rates else None


def _check(domains: Sequence[str], wanted: Wanted) -> None:
    for domain in domains:
        find_domain(domain)
    if not domains or len(set(domains)) < len(domains):
        raise DataError("name at least one fluoroscopy domain, and each only once")
    if wanted.patients < 1 or wanted.frames < 1:
        raise DataError(
            "a simulated dataset needs at least one patient with one frame in each domain; "
            f"got {wanted.patients} patients with {wanted.frames} frames"
        )
    check_size(wanted.size)
    is_negative(domains[0], wanted.seed, 0, wanted.negatives)
    if wanted.rate is not None:
        check_rate(wanted.rate)
        if wanted.frames > MOST_PAGES:
            raise DataError(
                f"a run of {wanted.frames:,} frames is longer than the {MOST_PAGES:,} that are "
                "read of a TIFF; ask for fewer frames, and for more patients"
            )


def _refuse_more_than_fits(folder: Path, domains: int, wanted: Wanted) -> None:
    """Raises DataError, before hours of drawing, for what no compression would make fit."""
    frames = domains * wanted.patients * wanted.frames
    there = next(place for place in folder.absolute().parents if place.is_dir())
    if frames * wanted.size**2 * LEAST_BYTES > shutil.disk_usage(there).free:
        raise DataError(
            f"{frames:,} frames of {wanted.size} pixels a side do not fit on the disk of {folder}; "
            "ask for fewer, or name a folder elsewhere"
        )


def _write_frames(folder: Path, domains: Sequence[str], wanted: Wanted) -> Iterator[Row]:
    """Writes image and mask of every frame, patient after patient."""
    for domain in domains:
        (folder / domain).mkdir()
        for patient, split in enumerate(split_of_patients(domain, wanted.patients, wanted.seed)):
            row = Row("", patient_id=f"sim-{domain}-{patient:04d}", corpus=domain, split=split)
            if wanted.rate is None:
                yield from _write_stills(folder, row, patient, wanted)
            else:
                yield from _write_run(folder, row, patient, wanted, wanted.rate)


def _write_stills(folder: Path, row: Row, patient: int, wanted: Wanted) -> Iterator[Row]:
    """Frames of one patient, each with a device of its own, as PNG files."""
    home = f"{row.corpus}/{patient:04d}"
    (folder / home).mkdir()
    for number in range(wanted.frames):
        frame = simulate_frame(
            row.corpus,
            wanted.seed,
            patient * wanted.frames + number,
            wanted.size,
            patient,
            distractors=wanted.distractors,
            negatives=wanted.negatives,
        )
        path, mask_path = f"{home}/{number:04d}.png", f"{home}/{number:04d}_mask.png"
        image = _png(_gray(frame))
        (folder / path).write_bytes(image)
        (folder / mask_path).write_bytes(_png(frame.mask))
        yield replace(row, path=path, mask_path=mask_path, sha256=sha256(image).hexdigest())


def _write_run(folder: Path, row: Row, patient: int, wanted: Wanted, rate: float) -> Iterator[Row]:
    """Frames of one patient as one run, in one TIFF file, and their masks in another."""
    run = Run(
        row.corpus,
        wanted.seed,
        patient,
        wanted.size,
        patient,
        rate,
        wanted.distractors,
        wanted.negatives,
    )
    path, mask_path = f"{row.corpus}/{patient:04d}.tif", f"{row.corpus}/{patient:04d}_mask.tif"
    grays, masks = [], []
    for frame in run.frames(wanted.frames):
        grays.append(_gray(frame))
        masks.append(frame.mask)
    image = _tiff(grays, rate)
    (folder / path).write_bytes(image)
    (folder / mask_path).write_bytes(_tiff(masks, rate))
    row = replace(row, path=path, mask_path=mask_path, sha256=sha256(image).hexdigest())
    for number in range(wanted.frames):
        yield replace(row, frame=number)


def _gray(frame: Frame) -> Pixels:
    return np.round(frame.image * 255).astype(np.uint8)


def _png(pixels: Pixels) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _tiff(frames: Sequence[Pixels], rate: float) -> bytes:
    """A multi-page TIFF without loss, deflated; its description tells the frame rate."""
    count = len(frames)
    told = f"ImageJ=1.54\nimages={count}\nframes={count}\nfps={rate:g}\nfinterval={1 / rate:.6g}\n"
    first, *rest = [Image.fromarray(frame) for frame in frames]
    stream = BytesIO()
    first.save(
        stream,
        "TIFF",
        save_all=True,
        append_images=rest,
        compression="tiff_adobe_deflate",
        tiffinfo={_DESCRIPTION: told},
    )
    return stream.getvalue()
