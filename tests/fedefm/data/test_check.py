import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fedefm.data.check import check_manifest, look_over, sha256_of
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
    for reader in ("row_facts.read_image", "row_facts.read_mask", "check.sha256_of"):
        monkeypatch.setattr(f"fedefm.data.{reader}", lambda *args: opened.append(str(args)))
    problems = check_manifest(Manifest(folder, tuple(rows)), hashes=True)
    assert opened == []
    assert len(problems) == len(rows)  # each path refused once, nothing said of what is inside
    assert not any("frame" in problem or "sha256" in problem for problem in problems)


def picture(seed: int, side: int = 64) -> np.ndarray:
    """Something smooth with a structure of its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def test_a_picture_in_two_splits_is_a_problem_and_a_likeness_a_warning(
    make_manifest: MakeManifest,
) -> None:
    rows = [Row(f"{k}.png", 0, f"secret-{k}", "c", split="train") for k in range(4)]
    rows[1] = replace(rows[1], split="test")
    folder = make_manifest(rows).folder
    for name, pixels in ((0, picture(1)), (1, picture(1)), (2, picture(2)), (3, picture(2, 96))):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    seen = look_over(Manifest(folder, tuple(rows)))
    assert seen.problems == (
        "row 3 (1.png): is the picture of row 2 (0.png), which is another patient's in split "
        "'train'; this one is in 'test'",
    )
    assert seen.warnings == (
        "row 5 (3.png): looks like the picture of row 4 (2.png), which is another patient's",
    )


def test_a_run_under_several_pseudonyms_is_one_sentence_and_all_its_pairs(
    make_manifest: MakeManifest,
) -> None:
    rows = [
        Row(f"{person}{frame}.png", 0, f"secret-{person}", "c")
        for person in "abc"
        for frame in range(6)
    ]
    rows += [Row(f"{name}.png", 0, f"secret-{name}", "c") for name in ("other", "twin")]
    folder = make_manifest(rows, side=64).folder
    for row in rows[:12]:
        frame = int(row.path[1])
        Image.fromarray(picture(frame, 64 + 8 * (row.path[0] == "b"))).save(folder / row.path)
    for row in rows[18:]:
        Image.fromarray(picture(77)).save(folder / row.path)
    seen = look_over(Manifest(folder, tuple(rows)))
    assert seen.warnings == (
        "12 images of 2 patients look like another patient's: rows 2-13, such as row 8 (b0.png) "
        "and row 2 (a0.png)",
        "row 21 (twin.png): is the picture of row 20 (other.png), which is another patient's",
    )
    pairs = [pair.rows() for pair in seen.alike]
    assert pairs == [*([row, row + 6] for row in range(2, 8)), [20, 21]]


def test_the_same_run_in_two_splits_is_one_problem(make_manifest: MakeManifest) -> None:
    rows = [
        Row(f"{split}{k}.png", 0, f"secret-{split}", "c", split=split)
        for split in ("train", "test")
        for k in range(3)
    ]
    folder = make_manifest(rows, side=64).folder
    for row in rows:
        Image.fromarray(picture(int(row.path[-5]))).save(folder / row.path)
    seen = look_over(Manifest(folder, tuple(rows)))
    assert seen.problems == (
        "6 images of 2 patients are another patient's: rows 2-7, such as row 5 (test0.png) and "
        "row 2 (train0.png); they are in splits 'test' and 'train'",
    )
    assert seen.warnings == ()


def test_many_images_of_one_gray_are_one_sentence(make_manifest: MakeManifest) -> None:
    rows = tuple(Row(f"{k}.png", 0, "p", "c" if k < 5 else "d") for k in range(6))
    folder = make_manifest(rows).folder
    for row in (*rows[:2], rows[3], rows[5]):
        Image.new("L", (12, 12), 90).save(folder / row.path)
    seen = look_over(Manifest(folder, rows))
    assert seen.warnings == (
        "corpus 'c': all pixels of the image are equal in 3 images, rows 2-3 and 5",
        "row 7 (5.png): all pixels of the image are equal",
    )
    assert seen.constant == (0, 1, 3, 5)


def test_pictures_of_one_patient_may_look_alike(make_manifest: MakeManifest) -> None:
    rows = tuple(Row(f"{k}.png", 0, "p", "c") for k in range(3))
    folder = make_manifest(rows).folder
    for row in rows:
        Image.fromarray(picture(1)).save(folder / row.path)
    assert look_over(Manifest(folder, rows)).warnings == ()


def test_what_is_odd_is_told_and_leaves_the_manifest_in_order(make_manifest: MakeManifest) -> None:
    rows = [replace(row, split="train", label="wire") for row in ROWS]
    rows[5] = replace(rows[5], split="test", label="none")
    folder = make_manifest(rows).folder
    Image.new("L", (12, 12), 90).save(folder / "a.png")
    for name, value in zip("abcde", (0, 5, 1, 1, 1), strict=True):
        mask = np.zeros((12, 12), np.uint8)
        mask[value % 5 :, 3] = value
        Image.fromarray(mask if name != "c" else mask * 0 + 1).save(folder / f"m/{name}.png")
    Image.fromarray(np.eye(12, dtype=np.uint8)).save(folder / "m/f.png")
    seen = look_over(Manifest(folder, tuple(rows)), classes=6)
    assert seen.problems == ()
    assert seen.warnings == (
        "row 2 (a.png): all pixels of the image are equal",
        "corpus 'angio': masks hold the values 0, 1, 5, which leave gaps; a model counts its "
        "classes 0, 1, 2 and so on",
        "corpus 'angio': all is background in 1 of 6 masks (first row 2 (a.png))",
        "corpus 'angio': no pixel is background in 1 of 6 masks (first row 4 (c.png))",
        "class 'none' has no image in split 'train', but 1 image of 1 patient in all",
        "class 'wire' has no image in split 'test', but 5 images of 5 patients in all",
    )
    assert seen.mask_values == {"angio": {0: 5, 1: 4, 5: 1}}
    strict = look_over(Manifest(folder, tuple(rows)), classes=3)
    assert strict.problems == (
        "row 3 (b.png): the mask has the value 5, which is none of 3 classes, counted from 0",
    )


def test_a_value_in_one_mask_of_many_is_told(make_manifest: MakeManifest) -> None:
    rows = tuple(Row(f"{k}.png", 0, "p", "c", "", f"m{k}.png") for k in range(51))
    folder = make_manifest(rows).folder
    for k, row in enumerate(rows):
        mask = np.eye(12, dtype=np.uint8)
        mask[0, 0] = 2 if k == 7 else 1
        Image.fromarray(mask).save(folder / row.mask_path)
    assert look_over(Manifest(folder, rows)).warnings == (
        "corpus 'c': the value 2 is in 1 mask of 51 only (first row 9 (7.png))",
    )


def test_a_mask_that_numbers_objects_is_told(make_manifest: MakeManifest) -> None:
    rows = (Row("a.png", 0, "p", "c", "", "m.png"),)
    folder = make_manifest(rows).folder
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12)).save(folder / "m.png")
    (warning,) = look_over(Manifest(folder, rows)).warnings
    assert "1 mask of 1 hold more than 32 values" in warning
    assert "do they number objects" in warning


def test_several_processes_see_the_same(make_manifest: MakeManifest) -> None:
    rows = tuple(
        Row(f"{k}.png", 0, f"p{k % 9}", "c", "", f"m{k}.png" if k % 3 else "") for k in range(120)
    )
    folder = make_manifest(rows).folder
    (folder / "17.png").write_bytes(b"broken")
    steps: list[tuple[int, int]] = []
    both = look_over(Manifest(folder, rows), processes=2, progress=lambda *step: steps.append(step))
    assert both == look_over(Manifest(folder, rows))
    assert len(both.problems) == 1
    assert steps[-1] == (120, 120)
