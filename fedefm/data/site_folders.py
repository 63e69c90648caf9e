"""A division on disk: one folder a site, ready for a simulation or to be carried to the site."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from fedefm.config import SITE_FILE as SITE_FILE
from fedefm.config.names import dataset_name
from fedefm.data.corpora import Division, Held
from fedefm.data.folders import fresh_folder, link_or_copy
from fedefm.data.holdings import holdings
from fedefm.data.manifest import Manifest, Row, write_manifest
from fedefm.errors import DataError

LEDGER = "ledger.sqlite"  # made by the first private run
BUDGET = "patients"  # all datasets of a site here are of the same patients


def write_sites(
    division: Division,
    manifests: Sequence[Manifest],
    folder: Path,
    datasets: Sequence[str] = ("pretraining",),
) -> None:
    """Make ``folder/<site>/{manifest.csv, images, fedefm_site.yaml}`` and ``folder/holdings.json``.

    Images are hard links where the file system allows it, since a manifest's paths may not leave
    its folder; a file of many frames is placed once. ``datasets`` are the names under which run
    files speak of the manifest, and share one epsilon budget. The labels that a site was dealt
    stand in its file, so that a private run need not look for them in the images.

    Raises DataError where ``folder`` is not new or cannot be written; then nothing is left behind.
    """
    for site in division.sites:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", site):
            raise DataError(f"site name {site!r} cannot be a folder; use letters, digits, - _ .")
    try:
        named_so = [dataset_name(name) for name in datasets]
    except ValueError as error:
        raise DataError(f"dataset {error}") from None
    with fresh_folder(folder) as output:
        for site in division.sites:
            place = output / site
            place.mkdir()
            rows = [_placed(held, manifests, place) for held in division.held[site]]
            write_manifest(place / "manifest.csv", rows)
            entry = {"manifest": "manifest.csv", "labels": _declared(division, site)}
            named = {name: {**entry, "budget": BUDGET} for name in named_so}
            settings = {"datasets": named, "ledger": LEDGER}
            (place / SITE_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
        report = json.dumps(holdings(division), indent=2, ensure_ascii=False)
        (output / "holdings.json").write_text(report + "\n", encoding="utf-8")


def _declared(division: Division, site: str) -> list[str]:
    return sorted({*division.private[site], *division.common})


def _placed(held: Held, manifests: Sequence[Manifest], place: Path) -> Row:
    """The row with its files linked into the site's folder, each source in a folder of its own."""
    source = manifests[held.source].folder
    prefix = f"{held.source + 1}/" if len(manifests) > 1 else ""
    row = held.row
    for path in filter(None, (row.path, row.mask_path)):
        link_or_copy(source / path, place / f"{prefix}{path}")
    mask_path = f"{prefix}{row.mask_path}" if row.mask_path else ""
    return replace(row, path=f"{prefix}{row.path}", mask_path=mask_path)
