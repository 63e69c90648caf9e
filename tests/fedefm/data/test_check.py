import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fedefm.data.check import check_manifest, sha256_of
from fedefm.data.manifest import Manifest, Row
from fedefm.errors import DataError

MakeManifest = Callable[..., Manifest]
ROWS = [Row(f"{n}.png", 0, f"secret-{n}", "angio", "", f"m/{n}.png") for n in "abcdef"]


def test_a_manifest_in_order_has_no_problems(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(ROWS)
    hashed = [replace(r, sha256=sha256_of(manifest.folder / r.path)) for r in manifest.rows]
    assert check_manifest(Manifest(manifest.folder, tuple(hashed)), hashes=True) == []


def test_all_problems_are_found_and_no_patient_is_named(make_manifest: MakeManifest) -> None:
    folder = make_manifest(ROWS).folder
    (folder / "a.png").write_bytes(b"broken")
    Image.new("L", (3, 4)).save(folder / "m/b.png")
    (folder / "c.png").unlink()
    (folder / "m/d.png").write_bytes(b"broken")
    rows = [replace(row, sha256="0" * 64 if row.path == "f.png" else "") for row in ROWS]
    rows[4] = replace(rows[4], frame=7)
    rows += [Row("e.png", 0, "secret-e", "angio", split="train")]
    rows += [Row("f.png", 1, "secret-e", "angio", split="test")]
    problems = check_manifest(Manifest(folder, tuple(rows)), hashes=True)
    for expected in (
        "row 2 (a.png): cannot be read as an image",
        "row 3 (b.png): the mask has 3 x 4 pixels and the image 12 x 12; they must be equal",
        "row 4: image 'c.png' does not exist",
        "row 5 (d.png): m/d.png cannot be read as an image",
        "row 6 (e.png): has no frame 7; it has 1, counted from 0",
        "row 7 (f.png): the file has changed since its sha256 was taken",
        "row 9 (f.png): its patient is in split 'test' here and in 'train' in row 8",
    ):
        assert any(problem.startswith(expected) for problem in problems), (expected, problems)
    assert not any("secret" in problem for problem in problems)


def test_hashes_are_compared_only_when_asked(make_manifest: MakeManifest) -> None:
    manifest = make_manifest([replace(ROWS[0], sha256="0" * 64)])
    assert check_manifest(manifest) == []
    assert len(check_manifest(manifest, hashes=True)) == 1


def test_a_mask_of_many_frames_goes_frame_by_frame(make_manifest: MakeManifest) -> None:
    folder = make_manifest(ROWS[:1]).folder
    np.save(folder / "image.npy", np.zeros((2, 6, 6), np.uint8))
    np.save(folder / "mask.npy", np.stack([np.zeros((6, 6)), np.full((6, 6), 0.5)]))
    rows = tuple(Row("image.npy", frame, "p", "c", "", "mask.npy") for frame in (0, 1))
    problems = check_manifest(Manifest(folder, rows))
    assert len(problems) == 1
    assert problems[0].startswith("row 3 (image.npy): mask.npy cannot be read")


def test_hash_is_that_of_the_file(make_manifest: MakeManifest) -> None:
    path = make_manifest(ROWS[:1]).folder / "a.png"
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="cannot be read"):
        sha256_of(path.parent)


def test_nothing_outside_the_folder_is_opened(
    make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_manifest(ROWS[:1]).folder
    outside = folder.parent / "outside.npy"
    np.save(outside, np.zeros((2, 6, 6), np.uint8))
    (folder / "link.npy").symlink_to(outside)
    paths = ("../outside.npy", "link.npy", str(outside))
    rows = [Row(path, 7, "p", "c", sha256="0" * 64) for path in paths]
    rows += [Row("a.png", 0, "p", "c", mask_path=path) for path in paths]
    opened: list[str] = []
    for reader in ("read_image", "read_row_mask", "sha256_of"):
        monkeypatch.setattr(f"fedefm.data.check.{reader}", lambda *args: opened.append(str(args)))
    problems = check_manifest(Manifest(folder, tuple(rows)), hashes=True)
    assert opened == []
    assert len(problems) == len(rows)  # each path refused once, nothing said of what is inside
    assert not any("frame" in problem or "sha256" in problem for problem in problems)
