"""The datasets of a site file: do they exist, and are they what the site says they are?

The structure of each manifest is checked in full, and one image is decoded. To decode all is
`fedefm data check`, which takes minutes. No finding names a patient.
"""

from collections import Counter
from pathlib import Path

from fedefm.config import DatasetEntry, SiteConfig
from fedefm.data.loading import training_rows
from fedefm.data.manifest import Manifest, parse_manifest
from fedefm.data.readers import read_image
from fedefm.errors import DataError
from fedefm.words import several
from provisioning.finding import Finding, ok, problem, warning

SHOWN = 3  # problems of a manifest; `fedefm data check` tells them all


def check_datasets(site_file: Path, settings: SiteConfig) -> tuple[list[Finding], int]:
    """One finding a dataset, and how many images the largest has."""
    if not settings.datasets:
        none = warning(
            "datasets", "the site file names none", "add the site's manifests under `datasets`"
        )
        return [none], 0
    findings, largest = [], 0
    for name, entry in settings.datasets.items():
        found, images = _check(name, site_file.parent / entry.manifest, entry)
        findings.append(found)
        largest = max(largest, images)
    return findings, largest


def _check(name: str, path: Path, entry: DatasetEntry) -> tuple[Finding, int]:
    check = f"dataset {name}"
    try:
        manifest, problems = parse_manifest(path)
        if not problems:
            training_rows(manifest)
            read_image(manifest.folder / manifest.rows[0].path, manifest.rows[0].frame)
    except DataError as error:
        return problem(check, str(error), "mend the manifest or its name in the site file"), 0
    images = len(manifest.rows)
    if problems:
        shown = "; ".join(problems[:SHOWN])
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        return problem(check, f"{shown}{more}", f"see all with `fedefm data check {path}`"), images
    return _compared(check, manifest, entry), images


def _compared(check: str, manifest: Manifest, entry: DatasetEntry) -> Finding:
    """The manifest against what the site file says of it."""
    rows = [manifest.rows[position] for position in training_rows(manifest)]
    patients = len({row.patient_id for row in rows})
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
    undeclared = set(manifest.targets) - set(entry.labels or manifest.targets)
    if undeclared:
        return problem(
            check,
            f"{said}; labels {', '.join(sorted(undeclared))} are not among the site file's",
            "add them to `labels`",
        )
    return ok(check, f"{said}; the first image can be read")
