"""A folder of simulated fluoroscopy, ready to train on: PNG frames, masks and a manifest."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from shutil import rmtree

import numpy as np
import numpy.typing as npt
from PIL import Image

from fedefm.data.fluoroscopy import simulate_frame
from fedefm.data.manifest import SPLITS, Manifest, Row, read_manifest, write_manifest
from fedefm.data.xray_domains import find_domain
from fedefm.errors import DataError
from fedefm.seeding import numpy_generator

# Shares of a domain's patients; whoever is not here is in training.
VALIDATION = TEST = 0.15


def write_dataset(
    folder: Path,
    domains: Sequence[str],
    patients: int,
    frames_per_patient: int,
    size: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Simulates ``patients`` of each domain and writes them to ``folder``, whole or not at all.

    The corpus of a row is its domain, and its label is left empty. Patients are split 70/15/15,
    with one at least in each split where there are three or more; no patient is in two.
    ``progress`` gets the number of frames done and of all. The same arguments write the same bytes.
    Raises DataError for an unknown domain, impossible numbers, or a folder that already holds
    something.
    """
    _check(folder, domains, patients, frames_per_patient)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        rows = []
        total = len(domains) * patients * frames_per_patient
        for row in _write_frames(unfinished, domains, patients, frames_per_patient, size, seed):
            rows.append(row)
            if progress is not None:
                progress(len(rows), total)
        write_manifest(unfinished / "manifest.csv", rows)
        unfinished.chmod(0o755)  # mkdtemp makes it private
        unfinished.replace(folder)
    except BaseException:
        rmtree(unfinished, ignore_errors=True)
        raise
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


def _check(folder: Path, domains: Sequence[str], patients: int, frames_per_patient: int) -> None:
    for domain in domains:
        find_domain(domain)
    if not domains or len(set(domains)) < len(domains):
        raise DataError("name at least one fluoroscopy domain, and each only once")
    if patients < 1 or frames_per_patient < 1:
        raise DataError(
            "a simulated dataset needs at least one patient with one frame in each domain; "
            f"got {patients} patients with {frames_per_patient} frames"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} already holds something; name a new or an empty folder")


def _write_frames(
    folder: Path,
    domains: Sequence[str],
    patients: int,
    frames_per_patient: int,
    size: int,
    seed: int,
) -> Iterator[Row]:
    """Writes image and mask of every frame, patient after patient."""
    for domain in domains:
        splits = split_of_patients(domain, patients, seed)
        for patient, split in enumerate(splits):
            home = f"{domain}/{patient:04d}"
            (folder / home).mkdir(parents=True)
            for number in range(frames_per_patient):
                index = patient * frames_per_patient + number
                frame = simulate_frame(domain, seed, index, size, patient)
                path, mask_path = f"{home}/{number:04d}.png", f"{home}/{number:04d}_mask.png"
                image = _png(np.round(frame.image * 255).astype(np.uint8))
                (folder / path).write_bytes(image)
                (folder / mask_path).write_bytes(_png(frame.mask))
                yield Row(
                    path=path,
                    patient_id=f"sim-{domain}-{patient:04d}",
                    corpus=domain,
                    mask_path=mask_path,
                    split=split,
                    sha256=sha256(image).hexdigest(),
                )


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
