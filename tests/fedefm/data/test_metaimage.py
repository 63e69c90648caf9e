import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.ingest import ingest
from fedefm.data.manifest import read_manifest
from fedefm.data.readers import count_frames, frame_size, read_image, read_mask
from fedefm.errors import DataError

VOLUME = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype("<i2")
PLAIN = """ObjectType = Image
NDims = 3
DimSize = 7 6 5
ElementType = MET_SHORT
ElementDataFile = scan.raw
"""


def scan(folder: Path, header: str = PLAIN, voxels: bytes = VOLUME.tobytes()) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "scan.mhd").write_text(header)
    (folder / "scan.raw").write_bytes(voxels)
    return folder / "scan.mhd"


def test_slices_of_a_volume_are_its_frames(tmp_path: Path) -> None:
    path = scan(tmp_path)
    assert (count_frames(path), frame_size(path)) == (5, (6, 7))
    for number in range(5):
        image = read_image(path, number)
        order = np.argsort(VOLUME[number], axis=None)
        assert (np.diff(image.ravel()[order]) >= 0).all()
        assert 0 <= image.min() < image.max() <= 1


@pytest.mark.parametrize(
    ("added", "voxels"),
    [
        ("", VOLUME.tobytes()),
        ("ElementByteOrderMSB = True\n", VOLUME.astype(">i2").tobytes()),
        ("CompressedData = True\n", zlib.compress(VOLUME.tobytes())),
        ("HeaderSize = 9\n", b"a header!" + VOLUME.tobytes()),
    ],
)
def test_all_ways_to_store_voxels_give_the_same_image(
    tmp_path: Path, added: str, voxels: bytes
) -> None:
    other = scan(tmp_path / "other", added + PLAIN, voxels)
    np.testing.assert_array_equal(read_image(other, 3), read_image(scan(tmp_path / "one"), 3))


def test_header_and_voxels_may_be_one_file(tmp_path: Path) -> None:
    header = PLAIN.replace("scan.raw", "LOCAL").encode()
    (tmp_path / "scan.mha").write_bytes(header + VOLUME.tobytes())
    whole = read_image(tmp_path / "scan.mha", 2)
    np.testing.assert_array_equal(whole, read_image(scan(tmp_path / "two"), 2))


def test_a_mask_keeps_its_labels(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    path = scan(tmp_path, PLAIN.replace("MET_SHORT", "MET_UCHAR"), labels.tobytes())
    np.testing.assert_array_equal(read_mask(path, 4), labels[4])


def test_an_ingested_scan_is_whole_and_tells_nothing_of_the_person(tmp_path: Path) -> None:
    path = scan(tmp_path / "export", "PatientName = Miller\nComment = Miller\n" + PLAIN)
    made = ingest(path.parent, tmp_path / "out")
    row = read_manifest(made.manifest).rows[3]
    placed = read_image(tmp_path / "out" / row.path, row.frame)
    np.testing.assert_allclose(placed, read_image(path, 3), atol=0.002)
    for written in (tmp_path / "out").rglob("*.*"):
        assert b"Miller" not in written.read_bytes()


BAD = {
    "empty": ("", b""),
    "no header": ("\x89PNG\r\n", VOLUME.tobytes()),
    "never ends": ("Comment = x\n" * 9000, VOLUME.tobytes()),
    "voxels outside": (PLAIN.replace("scan.raw", "../../etc/passwd"), VOLUME.tobytes()),
    "voxels elsewhere": (PLAIN.replace("scan.raw", "/etc/passwd"), VOLUME.tobytes()),
    "voxels on Windows": (PLAIN.replace("scan.raw", "..\\passwd"), VOLUME.tobytes()),
    "voxels missing": (PLAIN.replace("scan.raw", "lost.raw"), VOLUME.tobytes()),
    "truncated": (PLAIN, VOLUME.tobytes()[:-1]),
    "truncated, packed": ("CompressedData = True\n" + PLAIN, zlib.compress(VOLUME.tobytes())[:-90]),
    "not packed": ("CompressedData = True\n" + PLAIN, VOLUME.tobytes()),
    "a bomb": (PLAIN.replace("7 6 5", "60000 60000 60000"), VOLUME.tobytes()),
    "no voxels": (PLAIN.replace("7 6 5", "7 0 5"), VOLUME.tobytes()),
    "below zero": (PLAIN.replace("7 6 5", "7 -6 5"), VOLUME.tobytes()),
    "no number": (PLAIN.replace("7 6 5", "7 six 5"), VOLUME.tobytes()),
    "four axes": (PLAIN.replace("7 6 5", "7 6 5 1"), VOLUME.tobytes()),
    "unknown voxels": (PLAIN.replace("MET_SHORT", "MET_STRING"), VOLUME.tobytes()),
    "colors": ("ElementNumberOfChannels = 3\n" + PLAIN, VOLUME.tobytes()),
    "a start before the file": ("HeaderSize = -1\n" + PLAIN, VOLUME.tobytes()),
    "a list of files": (PLAIN.replace("scan.raw", "LIST"), VOLUME.tobytes()),
}


@pytest.mark.parametrize("kind", BAD)
def test_anything_else_is_refused_in_a_sentence(tmp_path: Path, kind: str) -> None:
    path = scan(tmp_path, *BAD[kind])
    with pytest.raises(DataError, match=r"scan\.mhd"):
        read_image(path)


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_no_bytes_end_in_anything_but_an_image_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, voxels: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "scan.mhd").write_bytes(header + b"\nElementDataFile = scan.raw\n")
    (folder / "scan.raw").write_bytes(voxels)
    with pytest.raises(DataError):
        read_image(folder / "scan.mhd")
