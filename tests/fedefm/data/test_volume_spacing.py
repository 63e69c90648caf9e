"""The size of a pixel is kept where the header of a volume says it and pixels are squares."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from fedefm.data.ingest import ingest
from fedefm.data.volume_spacing import volume_spacing


def nifti(path: Path, zooms: tuple[float, ...], unit: str | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.arange(4**3, dtype=np.uint8).reshape(4, 4, 4)
    image = nibabel.Nifti1Image(voxels, np.diag([*zooms, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def metaimage(path: Path, spacing: str) -> Path:
    line = f"ElementSpacing = {spacing}\n" if spacing else ""
    header = f"DimSize = 3 3 2\nElementType = MET_UCHAR\n{line}ElementDataFile = LOCAL\n"
    path.write_bytes(header.encode() + bytes(range(18)))
    return path


@pytest.mark.parametrize(
    ("zooms", "unit", "expected"),
    [
        ((0.308, 0.308, 5.0), "mm", 0.308),
        ((0.0007, 0.0007, 0.005), "meter", 0.7),
        ((250.0, 250.0, 9.0), "micron", 0.25),
        ((0.5, 0.7, 0.5), "mm", None),  # no squares
        ((1.0, 1.0, 1.0), None, None),  # what tools put there that do not know
    ],
)
def test_nifti_says_it_in_its_unit(
    tmp_path: Path, zooms: tuple[float, ...], unit: str | None, expected: float | None
) -> None:
    assert volume_spacing(nifti(tmp_path / "a.nii.gz", zooms, unit)) == expected


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("0.625 0.625 2", 0.625),
        ("0.5 0.7 1", None),
        ("", None),
        ("nan nan 1", None),
        ("x y", None),
        ("0 0 1", None),
        ("inf inf 1", None),
    ],
)
def test_metaimage_says_it_in_millimeters(
    tmp_path: Path, spacing: str, expected: float | None
) -> None:
    assert volume_spacing(metaimage(tmp_path / "a.mha", spacing)) == expected
    assert len(ingest(tmp_path / "a.mha", tmp_path / "out").rows) == 2


def test_others_and_broken_files_say_nothing(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii", "a.mhd", "a.png"):
        (tmp_path / name).write_bytes(b"broken")
        assert volume_spacing(tmp_path / name) is None


@pytest.mark.parametrize("layout", ["images", "msd", "msd-task04-hippocampus"])
def test_every_layout_keeps_it(tmp_path: Path, layout: str) -> None:
    for part in ("imagesTr", "labelsTr"):
        path = tmp_path / "in" / "Task04_Hippocampus" / part / "hippocampus_001.nii.gz"
        nifti(path, (0.4, 0.4, 3.0), "mm")
    made = ingest(tmp_path / "in", tmp_path / "out", layout=layout)
    assert {row.spacing_mm for row in made.rows} == {0.4}
    assert all(row.mask_path for row in made.rows)
