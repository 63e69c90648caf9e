"""Small folders of images to read, check and divide."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedefm.data.manifest import Manifest, Row, read_manifest, write_manifest

sys.path.insert(0, str(Path(__file__).parent))  # what the tests of this folder share

MakeManifest = Callable[..., Manifest]


@pytest.fixture
def make_manifest(tmp_path: Path) -> MakeManifest:
    """Writes a gray image for each row, and a mask where one is named, and the manifest."""

    def make(rows: Sequence[Row], folder: str = "set", side: int = 12) -> Manifest:
        home = tmp_path / folder
        home.mkdir()
        rng = np.random.default_rng(0)
        for row in rows:
            for path, top in ((row.path, 256), (row.mask_path, 3)):
                if path:
                    (home / path).parent.mkdir(parents=True, exist_ok=True)
                    pixels = rng.integers(0, top, (side, side), dtype=np.uint8)
                    Image.fromarray(pixels).save(home / path)
        write_manifest(home / "manifest.csv", rows)
        return read_manifest(home / "manifest.csv")

    return make


@pytest.fixture
def corpora_rows() -> Callable[[Sequence[str], int, int], list[Row]]:
    """Rows of some corpora, each with as many patients, each with as many images."""

    def rows(corpora: Sequence[str], patients: int, images: int) -> list[Row]:
        return [
            Row(f"{corpus}/{p}-{i}.png", 0, f"{corpus}-patient-{p}", corpus)
            for corpus in corpora
            for p in range(patients)
            for i in range(images)
        ]

    return rows
