import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fedefm.data.file_text import may_name_patient
from fedefm.data.ingest import ingest

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


def draw(path: Path, kind: str) -> Path:
    """An image that says Miller beside its pixels, or one that says nothing."""
    image = Image.fromarray(PIXELS)
    text, exif = PngInfo(), Image.Exif()
    text.add_text("Title", "Miller")
    exif[0x010E] = "Miller"  # ImageDescription
    if kind == "text.png":
        image.save(path, pnginfo=text)
    elif kind == "exif.jpg":
        image.save(path, exif=exif)
    elif kind in ("comment.gif", "comment.jpg"):
        image.save(path, comment=b"Miller")
    elif kind == "tags.tif":
        image.save(path, description="Miller")
    elif kind == "comment.pgm":
        path.write_bytes(b"P5\n# Miller\n8 8\n255\n" + PIXELS.tobytes())
    elif kind == "header.nii":
        volume = nibabel.Nifti1Image(PIXELS[..., None], np.eye(4))
        volume.header["descrip"] = b"Miller"
        volume.to_filename(path)
    elif kind.endswith(".npy"):
        np.save(path, PIXELS)
    elif kind == "palette.png":
        colored = Image.fromarray(PIXELS).convert("P")
        colored.putpalette(b"Miller" * 128)
        colored.save(path)
    else:
        image.save(path)
    if kind in HIDDEN:
        hide(path)
    return path


def hide(path: Path) -> None:
    """Put Miller where no decoder looks: into a part of one's own, or behind the picture."""
    content, name = path.read_bytes(), b"Miller"
    if path.stem == "behind":
        path.write_bytes(content + name)
    elif path.suffix == ".npy":  # a header is a Python expression, filled up with blanks
        blanks = content.index(b"}") + 1
        path.write_bytes(content[:blanks] + b" # " + name + content[blanks + 3 + len(name) :])
    elif path.suffix == ".png":
        chunk = b"prVt" + name
        chunk = len(name).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        path.write_bytes(content[:33] + chunk + content[33:])  # after the header
    else:
        path.write_bytes(content[:2] + b"\xff\xe5\0\x08" + name + content[2:])


WORDY = ("text.png", "exif.jpg", "comment.jpg", "comment.gif", "tags.tif", "comment.pgm",
         "palette.png")  # fmt: skip
HIDDEN = (
    "chunk.png",
    "segment.jpg",
    "comment.npy",
    "behind.png",
    "behind.jpg",
    "behind.npy",
    "behind.bmp",
)


@pytest.mark.parametrize("kind", [*WORDY, *HIDDEN, "header.nii"])
def test_files_with_text_are_written_anew_without_it(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    path = draw(tmp_path / "in" / kind, kind)
    assert b"Miller" in path.read_bytes()
    assert may_name_patient(path)
    made = ingest(tmp_path / "in", tmp_path / "out")
    written = tmp_path / "out" / made.rows[0].path
    assert written.suffix == ".png"
    assert b"Miller" not in written.read_bytes()
    linked = ingest(tmp_path / "in", tmp_path / "linked", files="link")
    assert b"Miller" in (tmp_path / "linked" / linked.rows[0].path).read_bytes()


@pytest.mark.parametrize("kind", ["plain.png", "plain.jpg", "plain.jpeg", "plain.npy"])
def test_files_of_nothing_but_pixels_are_shared(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    path = draw(tmp_path / "in" / kind, kind)
    assert not may_name_patient(path)
    made = ingest(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / made.rows[0].path).samefile(path)


@pytest.mark.parametrize(
    "array",
    [PIXELS.astype(">u2"), np.asfortranarray(PIXELS), np.zeros((3, 8, 8)), PIXELS.astype("f4")],
    ids=["big endian", "by columns", "frames", "floats"],
)
def test_arrays_as_numpy_writes_them_are_shared(tmp_path: Path, array: NDArray[Any]) -> None:
    np.save(tmp_path / "a.npy", array)
    assert not may_name_patient(tmp_path / "a.npy")


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}])
def test_compressed_pictures_of_all_kinds_are_shared(
    tmp_path: Path, options: dict[str, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=95, **options)
    assert not may_name_patient(tmp_path / "a.jpg")


def test_a_picture_of_another_kind_than_its_name_says_is_written_anew(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", "png")
    assert may_name_patient(tmp_path / "a.jpg")
