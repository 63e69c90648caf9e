from pathlib import Path

import nibabel
import numpy as np
import pytest
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
    elif kind == "plain.npy":
        np.save(path, PIXELS)
    else:
        image.save(path)
    return path


WORDY = ("text.png", "exif.jpg", "comment.jpg", "comment.gif", "tags.tif", "comment.pgm")


@pytest.mark.parametrize("kind", [*WORDY, "header.nii"])
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


@pytest.mark.parametrize("kind", ["plain.png", "plain.jpg", "plain.gif", "plain.bmp", "plain.npy"])
def test_files_of_nothing_but_pixels_are_shared(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    path = draw(tmp_path / "in" / kind, kind)
    assert not may_name_patient(path)
    made = ingest(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / made.rows[0].path).samefile(path)
