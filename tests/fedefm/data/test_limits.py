"""How large an image may be, and what a compressed frame says of itself."""

import struct
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedefm.data.limits import LARGEST_PIXELS, LARGEST_SIDE, claimed_size, within_limits
from fedefm.data.unreadable import Unfit

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
