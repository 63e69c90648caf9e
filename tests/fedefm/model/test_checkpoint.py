"""Checkpoints: what matched is told, what does not fit is refused, nothing is half-written."""

import errno
import os

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

import fedefm.model.checkpoint as checkpoint
from fedefm.errors import ModelError
from fedefm.model.checkpoint import (
    load_checkpoint,
    read_checkpoint_info,
    save_checkpoint,
    write_tensors,
)


def layers(count: int) -> nn.Module:
    return nn.Sequential(*(nn.Linear(2, 2) for _ in range(count)))


def test_a_checkpoint_comes_back_with_its_facts(tmp_path):
    model, other = layers(3), layers(3)
    save_checkpoint(tmp_path / "new" / "m.safetensors", model, {"seed": "4", "classes": '["ö"]'})
    report = load_checkpoint(tmp_path / "new" / "m.safetensors", other)
    assert report.share == 1
    assert torch.equal(other[2].weight, model[2].weight)
    assert read_checkpoint_info(tmp_path / "new" / "m.safetensors")["classes"] == '["ö"]'


def test_equal_models_with_equal_facts_are_equal_files(tmp_path):
    model, facts = layers(3), {f"fact {k}": 'ö "\n\x1f' * k for k in range(12)}
    for name, order in (("a", 1), ("b", -1)):
        save_checkpoint(tmp_path / name, model, dict(list(facts.items())[::order]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_checkpoint_info(tmp_path / "a") == facts


def test_the_report_names_what_did_not_match(tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", layers(5), {})
    model = layers(6)
    model[0] = nn.Linear(2, 7)
    report = load_checkpoint(tmp_path / "m.safetensors", model, minimum=0.5)
    assert report.missing == ("5.weight", "5.bias")
    assert report.mismatched == ("0.weight", "0.bias")
    assert report.unexpected == ()
    assert str(report) == (
        "8 of 12 tensors matched; 2 missing (5.weight, 5.bias); 2 mismatched (0.weight, 0.bias)"
    )


def test_too_few_matches_are_refused_and_the_model_is_unchanged(tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", layers(5), {})
    model = layers(6)
    before = model[0].weight.clone()
    with pytest.raises(ModelError, match=r"10 of 12 tensors matched; 2 missing \(5.weight"):
        load_checkpoint(tmp_path / "m.safetensors", model)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is damaged or no safetensors file") as caught:
        load_checkpoint(path, layers(1))
    assert "\n" not in str(caught.value)


def test_a_cut_off_file_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, layers(3), {})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelError, match="is damaged"):
        load_checkpoint(path, layers(3))


@pytest.mark.parametrize("name", ["absent.safetensors", "."])
def test_a_missing_file_is_refused(tmp_path, name):
    with pytest.raises(ModelError, match="does not exist or is no file"):
        read_checkpoint_info(tmp_path / name)


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, layers(1), {"round": "1"})

    def full_disk(tensors, target, metadata):
        target.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, layers(1), {"round": "2"})
    assert read_checkpoint_info(path)["round"] == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_full_disk_is_an_error_of_the_system_and_leaves_nothing(tmp_path, monkeypatch):
    full = "Error while serializing: I/O error: No space left on device (os error 28)"

    def refuse(tensors, target, metadata):
        target.write_bytes(b"half")
        raise SafetensorError(full)

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        save_checkpoint(tmp_path / "m.safetensors", layers(1), {})
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_what_safetensors_raises_today_is_understood(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_tensors(tmp_path / "nowhere" / "m.safetensors", layers(1).state_dict())


def test_what_is_no_fault_of_the_disk_is_not_called_one(tmp_path):
    tensor = torch.zeros(2)
    with pytest.raises((SafetensorError, ValueError, TypeError)):
        write_tensors(tmp_path / "m.safetensors", {"a": tensor}, {"number": 1})
