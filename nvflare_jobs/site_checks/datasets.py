"""The datasets of a site file: do they exist, and are they what the site says they are?

The structure of each manifest is checked in full, and one image is decoded. To decode all is
`fedefm data check`, which takes minutes. No finding names a patient.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fedefm.config import DatasetEntry, SiteConfig
from fedefm.data.kinds import kinds_of
from fedefm.data.loading import training_rows
from fedefm.data.manifest import Manifest, parse_manifest
from fedefm.data.readers import read_image
from fedefm.errors import DataError
from fedefm.words import several
from provisioning.finding import Finding, ok, problem

SHOWN = 3  # problems of a manifest; `fedefm data check` tells them all


@dataclass(frozen=True)
class Datasets:
    """One finding a dataset, how many images the largest has, and how many patients (or images,
    where these are what the site counts) there are to train on in each that can be read."""

    findings: list[Finding]
    images: int
    units: dict[str, int]


def check_datasets(site_file: Path, settings: SiteConfig) -> Datasets:
    """All of a site file's; nothing of them is changed."""
    if not settings.datasets:
        none = problem(
            "datasets",
            "the site file names none, so every job is refused",
            "add the site's manifests under `datasets`",
        )
        return Datasets([none], 0, {})
    looked = {
        name: _check(name, site_file.parent / entry.manifest, entry)
        for name, entry in settings.datasets.items()
    }
    units = {name: each.units for name, each in looked.items() if each.units}
    findings = [each.finding for each in looked.values()]
    return Datasets(findings, max(each.images for each in looked.values()), units)


@dataclass(frozen=True)
class _Looked:
    finding: Finding
    images: int = 0
    units: int = 0  # 0 where they cannot be counted


def _check(name: str, path: Path, entry: DatasetEntry) -> _Looked:
    check = f"dataset {name}"
    try:
        manifest, problems = parse_manifest(path)
        if not problems:
            training_rows(manifest)
            read_image(manifest.folder / manifest.rows[0].path, manifest.rows[0].frame)
    except DataError as error:
        fix = "mend the manifest or its name in the site file"
        return _Looked(problem(check, str(error), fix))
    images = len(manifest.rows)
    if problems:
        shown = "; ".join(problems[:SHOWN])
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        fix = f"see all with `fedefm data check {path}`"
        return _Looked(problem(check, f"{shown}{more}", fix), images)
    rows = [manifest.rows[position] for position in training_rows(manifest)]
    patients = len({row.patient_id for row in rows})
    units = patients if entry.unit == "patient" else len(rows)
    return _Looked(_compared(check, manifest, entry, patients), images, units)


def _compared(check: str, manifest: Manifest, entry: DatasetEntry, patients: int) -> Finding:
    """The manifest against what the site file says of it."""
    splits = Counter(row.split or "train" for row in manifest.rows)
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    said = (
        f"{several(len(manifest.rows), 'image')} ({counts}), {several(patients, 'patient')} to "
        "train on"
    )
    if entry.patients is not None and patients > entry.patients:
        return problem(
            check,
            f"{said}, and the site file says {entry.patients}",
            "correct `patients`, or private runs are refused",
        )
    kinds = {*kinds_of(manifest.rows, entry.labels or ())}
    undeclared = kinds - set(entry.labels or kinds)
    if undeclared:
        return problem(
            check,
            f"{said}; labels {', '.join(sorted(undeclared))} are not among the site file's",
            "add them to `labels`",
        )
    return ok(check, f"{said}; the first image can be read")
