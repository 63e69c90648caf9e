"""A simulated dataset is complete, split by patient and written whole or not at all."""

import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fedefm.data.check import check_manifest
from fedefm.data.dataset import FrameDataset
from fedefm.data.fluoroscopy import is_negative, simulate_frame
from fedefm.data.manifest import Manifest
from fedefm.data.masks import read_row_mask
from fedefm.data.readers import count_frames, read_image
from fedefm.data.simulated import frames_a_second, split_of_patients, write_dataset
from fedefm.data.xray_sequence import Sequence
from fedefm.errors import DataError

PATIENTS, FRAMES = 4, 5
DOMAINS = ("animal", "cardiac")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_dataset(
        tmp_path_factory.mktemp("out") / "set", DOMAINS, PATIENTS, FRAMES, size=48, seed=5
    )


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_manifest_is_complete_and_without_fault(written):
    assert len(written.rows) == len(DOMAINS) * PATIENTS * FRAMES
    assert check_manifest(written, hashes=True) == []
    assert Counter(row.corpus for row in written.rows) == dict.fromkeys(DOMAINS, 20)
    assert {row.label for row in written.rows} == {""}
    assert "sim-cardiac-0003" in {row.patient_id for row in written.rows}


def test_each_domain_has_patients_in_each_split(written):
    found = {(row.corpus, row.split) for row in written.rows}
    assert found == {(d, s) for d in DOMAINS for s in ("train", "validation", "test")}


@pytest.mark.parametrize("patients", [3, 4, 10, 20, 41])
def test_patients_are_split_70_15_15(patients):
    counts = Counter(split_of_patients("animal", patients, seed=1))
    assert counts["validation"] == counts["test"] >= 1
    assert counts["validation"] == pytest.approx(0.15 * patients, abs=0.56)
    assert sum(counts.values()) == patients


def test_files_hold_the_frames_that_the_simulator_makes(written):
    place = 2 * FRAMES + 3  # domain 0, patient 2, frame 3
    row = written.rows[place]
    frame = simulate_frame("animal", 5, place, 48, patient=2)
    image = np.asarray(Image.open(written.folder / row.path))
    mask = np.asarray(Image.open(written.folder / row.mask_path))
    np.testing.assert_allclose(image / 255, frame.image, atol=0.5 / 255 + 1e-6)
    assert (mask == frame.mask).all()


def test_masks_are_empty_exactly_where_a_negative_was_drawn(written):
    for place, row in enumerate(written.rows):
        empty = not np.asarray(Image.open(written.folder / row.mask_path)).any()
        assert empty == is_negative(row.corpus, 5, place % (PATIENTS * FRAMES))


def test_the_same_arguments_write_the_same_bytes(written, tmp_path):
    write_dataset(tmp_path / "again", DOMAINS, PATIENTS, FRAMES, size=48, seed=5)
    assert everything_in(tmp_path / "again") == everything_in(written.folder)


def test_progress_counts_every_frame(tmp_path):
    seen: list[tuple[int, int]] = []
    write_dataset(
        tmp_path / "set", ["phantom"], 1, 3, 32, 1, lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_nothing_is_left_when_writing_is_interrupted(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", ["phantom"], 1, 3, 32, 1, stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="exists already and is not empty"):
        write_dataset(tmp_path, ["phantom"], 1, 1, 32, 1)
    assert everything_in(tmp_path) == {"precious.txt": b"mine"}


def test_an_empty_folder_is_filled(tmp_path):
    assert len(write_dataset(tmp_path / "a" / "b", ["phantom"], 1, 1, 32, 1).rows) == 1
    (tmp_path / "c").mkdir()
    assert len(write_dataset(tmp_path / "c", ["phantom"], 1, 1, 32, 1).rows) == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("runs") / "set"
    return write_dataset(folder, DOMAINS, 3, 4, 48, 5, negatives=0.5, rate=7.5)


def test_a_run_is_one_file_of_many_frames_with_as_many_masks(run):
    assert check_manifest(run, hashes=True) == []
    assert len(run.rows) == len(DOMAINS) * 3 * 4
    assert {(row.path, row.mask_path) for row in run.rows if row.corpus == "animal"} == {
        (f"animal/{n:04d}.tif", f"animal/{n:04d}_mask.tif") for n in range(3)
    }
    assert [row.frame for row in run.rows[:5]] == [0, 1, 2, 3, 0]
    assert count_frames(run.folder / run.rows[0].mask_path) == 4


def test_a_run_holds_the_frames_that_the_simulator_makes(run):
    place = 1 * 4 + 2  # patient 1, frame 2
    frame = Sequence("animal", 5, 1, 48, 1, 7.5, negatives=0.5).frame(2)
    row = run.rows[place]
    image = read_image(run.folder / row.path, row.frame)
    np.testing.assert_allclose(image, frame.image, atol=0.5 / 255 + 1e-6)
    assert (read_row_mask(run, place) == frame.mask).all()


def test_a_run_tells_its_frame_rate(run, written):
    assert frames_a_second(run.folder / run.rows[0].path) == 7.5
    assert frames_a_second(run.folder / run.rows[0].mask_path) == 7.5
    assert frames_a_second(written.folder / written.rows[0].path) is None


def test_a_run_has_a_device_in_all_frames_or_in_none(run):
    for place, row in enumerate(run.rows):
        patient = int(row.patient_id[-4:])
        assert read_row_mask(run, place).any() != is_negative(row.corpus, 5, patient, 0.5)


def test_the_same_run_is_written_in_the_same_bytes(run, tmp_path):
    write_dataset(tmp_path / "again", DOMAINS, 3, 4, 48, 5, negatives=0.5, rate=7.5)
    assert everything_in(tmp_path / "again") == everything_in(run.folder)


def test_a_run_is_read_as_a_dataset(run):
    dataset = FrameDataset.from_manifest(run, None, ("background", "c", "g"), 48, masks=True)
    assert len(dataset) == len(run.rows)
    assert set(dataset.masks.unique().tolist()) <= {0, 1, 2}


def test_distractors_change_frames_and_no_mask(written, tmp_path):
    made = write_dataset(tmp_path / "set", DOMAINS, PATIENTS, FRAMES, 48, 5, distractors=True)
    for plain, cluttered in zip(written.rows[::7], made.rows[::7], strict=True):
        assert plain.sha256 != cluttered.sha256
        masks = [(made.folder / row.mask_path).read_bytes() for row in (plain, cluttered)]
        assert masks[0] == masks[1] == (written.folder / plain.mask_path).read_bytes()


@pytest.mark.parametrize("wish", [{"rate": 0.0}, {"rate": 100.0}, {"negatives": 2.0}])
def test_impossible_wishes_write_nothing(tmp_path, wish):
    with pytest.raises(DataError):
        write_dataset(tmp_path / "set", ["animal"], 1, 1, 48, 1, **wish)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("domains", "patients", "frames", "size"),
    [
        (["knee"], 1, 1, 32),
        ([], 1, 1, 32),
        (["animal", "animal"], 1, 1, 32),
        (["animal"], 0, 1, 32),
        (["animal"], 1, 0, 32),
        (["animal"], 1, 1, 8),
    ],
)
def test_impossible_requests_write_nothing(tmp_path, domains, patients, frames, size):
    with pytest.raises(DataError):
        write_dataset(tmp_path / "set", domains, patients, frames, size, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_run_longer_than_its_readers_take_is_refused_before_it_is_drawn(tmp_path):
    with pytest.raises(DataError, match=r"99,999,999 frames is longer than the 10,000"):
        write_dataset(tmp_path / "set", ["animal"], 1, 99_999_999, 32, 1, rate=15.0)
    assert list(tmp_path.iterdir()) == []


def test_more_frames_than_the_disk_holds_are_refused_before_one_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10_000))
    drawn = []
    with pytest.raises(DataError, match=r"200 frames of 32 pixels a side do not fit on the disk"):
        write_dataset(tmp_path / "a" / "set", ["animal"], 2, 100, 32, 1, lambda *d: drawn.append(d))
    assert not drawn
    assert list(tmp_path.iterdir()) == []
    assert len(write_dataset(tmp_path / "set", ["animal"], 1, 2, 32, 1).rows) == 2
