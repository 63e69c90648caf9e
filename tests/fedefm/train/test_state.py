"""A state on disk is whole or not there, and the one before it is kept."""

import pytest
import torch

from fedefm.train.state import finished_rounds, load_state, save_state
from tests.full_disk import files_at_most


def parties(number):
    return {
        "north/clinic": {
            "weights": {"backbone.a": torch.full((2, 3), float(number)), "b": torch.tensor(1.0)},
            "expert0": {"b": torch.ones(2, 3).T},
        },
        "server": {"weights": {"b": torch.zeros(2)}},
    }


def newest(folder):
    return max(path for path in folder.iterdir() if "." not in path.name)


def test_what_is_saved_comes_back(tmp_path):
    save_state(tmp_path / "state", 3, parties(3))
    rounds, back = load_state(tmp_path / "state")
    assert rounds == 3
    assert back.keys() == parties(3).keys()
    torch.testing.assert_close(back, parties(3), rtol=0, atol=0)


def test_the_two_newest_are_kept(tmp_path):
    for number in range(1, 12):
        save_state(tmp_path, number, parties(number))
    assert finished_rounds(tmp_path) == [11, 10]
    assert load_state(tmp_path)[0] == 11
    assert load_state(tmp_path, 10)[0] == 10
    assert load_state(tmp_path, 9) is None


def test_nothing_saved_is_nothing_found(tmp_path):
    assert load_state(tmp_path / "state") is None
    assert finished_rounds(tmp_path / "state") == []


def test_a_state_that_was_being_written_is_not_seen_and_not_in_the_way(tmp_path):
    save_state(tmp_path, 1, parties(1))
    (tmp_path / "round-000002.4711.unfinished").mkdir()
    (tmp_path / "round-000002.4711.unfinished" / "server.safetensors").write_bytes(b"half")
    assert load_state(tmp_path)[0] == 1
    save_state(tmp_path, 2, parties(2))
    torch.testing.assert_close(load_state(tmp_path), (2, parties(2)))


@pytest.mark.parametrize("length", [0, 5, 40])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, length):
    save_state(tmp_path, 1, parties(1))
    save_state(tmp_path, 2, parties(2))
    file = next(newest(tmp_path).glob("north*"))
    file.write_bytes(file.read_bytes()[:length])
    assert load_state(tmp_path)[0] == 1


def test_a_state_is_replaced_when_a_round_is_run_again(tmp_path):
    save_state(tmp_path, 1, parties(1))
    save_state(tmp_path, 1, parties(7))
    torch.testing.assert_close(load_state(tmp_path), (1, parties(7)))


def test_other_files_in_the_folder_are_passed_over(tmp_path):
    save_state(tmp_path, 1, parties(1))
    (tmp_path / "round-notes").mkdir()
    (tmp_path / "notes").write_text("mine")
    assert load_state(tmp_path)[0] == 1


def test_a_full_disk_leaves_the_states_before_and_nothing_half_written(tmp_path):
    save_state(tmp_path, 1, parties(1))
    with files_at_most(100), pytest.raises(OSError, match="File too large"):
        save_state(tmp_path, 2, parties(2))
    assert [path.name for path in tmp_path.iterdir()] == ["round-000001"]
    torch.testing.assert_close(load_state(tmp_path), (1, parties(1)))
