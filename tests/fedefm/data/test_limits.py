"""How large an image may be, what a compressed frame says of itself, and that all readers ask."""

import gzip
import os
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import bad_inputs as bad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedefm.data import limits
from fedefm.data.limits import LARGEST_PIXELS, LARGEST_SIDE, claimed_size, within_limits
from fedefm.data.readers import count_frames, read_image, read_mask
from fedefm.data.unreadable import Unfit
from fedefm.errors import DataError

sides = st.integers(1, 90)


@pytest.mark.parametrize("size", [(1, 1), (8192, 8192), (1024, LARGEST_SIDE), (8600, 7000)])
def test_images_of_the_body_are_within_limits(size: tuple[int, int]) -> None:
    assert within_limits(*size) == size


@pytest.mark.parametrize(
    "size", [(60_000, 60_000), (8193, 8192), (1, LARGEST_SIDE + 1), (0, 5), (-3, -3)]
)
def test_bombs_are_not(size: tuple[int, int]) -> None:
    with pytest.raises(Unfit, match=f"{size[1]} x {size[0]} pixels"):
        within_limits(*size)


def test_the_limit_is_told() -> None:
    with pytest.raises(Unfit, match=f"{LARGEST_PIXELS:,} are read"):
        within_limits(60_000, 60_000)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"\xff\xc0" * 30}),  # a marker in a comment
        ("JPEG", {"dpi": (3, 3), "quality": 2}),
        ("JPEG2000", {"no_jp2": True}),
        ("JPEG2000", {}),  # in boxes
    ],
)
@given(height=sides, width=sides, color=st.booleans())
def test_a_frame_tells_the_size_that_it_was_made_with(
    kind: str, options: dict[str, object], height: int, width: int, color: bool
) -> None:
    shape = (height, width, 3) if color else (height, width)
    file = BytesIO()
    Image.fromarray(np.zeros(shape, np.uint8)).save(file, kind, **options)
    assert claimed_size(file.getvalue()) == (height, width)


@given(height=st.integers(16, 90), width=st.integers(16, 90))
def test_so_does_jpeg_ls(height: int, width: int) -> None:
    jpeg_ls = pytest.importorskip("jpeg_ls", reason="pip install 'fedefm[dicom]'")
    frame = jpeg_ls.encode_array(np.zeros((height, width), np.uint16))
    assert claimed_size(bytes(frame)) == (height, width)


@given(st.binary(max_size=60))
def test_what_rle_repeats_is_taken_for_no_other_kind(noise: bytes) -> None:
    """0xFF 0x4F is "twice 0x4F" there, so that the mark of JPEG 2000 is in many frames."""
    repeats = bytes(byte for value in (0x4F, 0x51, *noise) for byte in (0xFF, value))
    assert claimed_size(struct.pack("<16I", 1, 64, *[0] * 14) + repeats * 3) is None


@given(
    content=st.binary(max_size=200), start=st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51"])
)
def test_anything_else_tells_no_size_or_any(content: bytes, start: bytes) -> None:
    size = claimed_size(start + content)
    assert size is None or len(size) == 2


def test_a_frame_without_end_is_looked_through_once() -> None:
    assert claimed_size(b"\xff\xd8" + b"\xff" * (1 << 20)) is None
    filler = struct.pack(">BBH", 0xFF, 0xE1, 2)
    assert claimed_size(b"\xff\xd8" + filler * (1 << 18)) is None


GOOD = {  # of 48 x 48 pixels
    **bad.GOOD,
    ".mha": lambda: (
        b"NDims = 2\nDimSize = 48 48\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        + bytes(48 * 48)
    ),
}


@pytest.mark.parametrize("ending", GOOD)
def test_every_reader_asks_before_it_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    for name in ("small", "large"):
        (tmp_path / f"{name}{ending}").write_bytes(GOOD[ending]())
    monkeypatch.setattr(limits, "LARGEST_PIXELS", 48 * 48)
    assert read_image(tmp_path / f"small{ending}").shape == (48, 48)
    monkeypatch.setattr(limits, "LARGEST_PIXELS", 48 * 48 - 1)
    for ask in (count_frames, read_image, read_mask):
        with pytest.raises(DataError, match="it says that it has 48 x 48 pixels"):
            ask(tmp_path / f"large{ending}")


HUGE: dict[str, Callable[[], bytes]] = {
    "a.png": bad.png_bomb,
    "a.tif": bad.tiff_bomb,
    "a.jpg": bad.jpeg_bomb,
    "a.gif": bad.gif_bomb,
    "a.npy": lambda: bad.numpy_head((bad.HUGE, bad.HUGE)),
    "a.nii": lambda: bad.nifti_2_head(bad.HUGE, bad.HUGE, 1),
    "a.nii.gz": lambda: gzip.compress(bad.nifti_2_head(bad.HUGE, bad.HUGE, 1)),
    "a.dcm": lambda: bad.dicom_bytes(Rows=bad.HUGE, Columns=bad.HUGE),
    "inner.dcm": lambda: bad.inner_bomb(bad.JPEG2000, bad.jpeg_2000_bomb()),
    "a.mha": lambda: bad.metaimage_bomb(bad.HUGE, bad.HUGE),
    "tile.tif": bad.tiff_tile_bomb,
}


@pytest.mark.parametrize("name", HUGE)
def test_bombs_of_every_kind_are_refused_for_their_size(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HUGE[name]())
    if name == "a.npy":  # a hole: 3.6 GB that take no room on the disk
        os.truncate(tmp_path / name, 128 + bad.HUGE**2)
    with pytest.raises(DataError, match=r"[46]0000 x [46]0000 (pixels|x 1 voxels)|far more pixels"):
        read_image(tmp_path / name)


def test_each_page_has_a_size_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [Image.new("L", (side, side), side) for side in (8, 40, 9)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    monkeypatch.setattr(limits, "LARGEST_PIXELS", 1000)
    assert read_image(tmp_path / "a.tif", 0).shape == (8, 8)
    with pytest.raises(DataError, match="40 x 40 pixels"):
        read_image(tmp_path / "a.tif", 1)
    assert read_image(tmp_path / "a.tif", 2).shape == (9, 9)
