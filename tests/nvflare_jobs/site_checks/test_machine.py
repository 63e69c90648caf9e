"""What a machine has, against what a run takes."""

from types import SimpleNamespace

import psutil
import pytest

from nvflare_jobs.site_checks import machine
from nvflare_jobs.site_checks.machine import BASE_GIB, GIB, check_disk, check_gpu, check_memory


@pytest.fixture
def free(monkeypatch):
    """``free(GiB)`` of memory."""

    def have(gib: float) -> None:
        there = SimpleNamespace(available=int(gib * GIB))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: there)

    return have


@pytest.mark.parametrize(("gib", "verdict"), [(0.5, "problem"), (1.5, "warning"), (8, "ok")])
def test_memory_is_judged_by_what_a_tiny_run_takes(free, gib, verdict):
    free(gib)
    found = check_memory("site", 0, ())
    assert found.verdict == verdict
    assert f"about {BASE_GIB['site']:.1f} GiB" in found.said


def test_images_take_a_byte_a_pixel(free):
    free(8)
    assert "about 5.8 GiB with a tiny model, 100,000 images of 224 x 224" in (
        check_memory("site", 100_000, ()).said
    )


def test_a_containers_limit_counts(free, tmp_path):
    free(64)
    limit, none = tmp_path / "memory.max", tmp_path / "max"
    limit.write_text(f"{GIB // 2}\n")
    none.write_text("max\n")
    assert check_memory("site", 0, (none,)).verdict == "ok"
    assert check_memory("site", 0, (none, limit)).verdict == "problem"


@pytest.mark.parametrize(("gib", "verdict"), [(1, "problem"), (5, "warning"), (50, "ok")])
def test_disk_is_judged_once_for_all_that_is_on_it(tmp_path, monkeypatch, gib, verdict):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=gib * GIB))
    (found,) = check_disk({"jobs": tmp_path, "saved rounds": tmp_path / "not" / "yet"})
    assert found.verdict == verdict
    assert "jobs" in found.said
    assert "saved rounds" in found.said


@pytest.mark.parametrize(
    ("device", "gpus", "verdict"), [("cpu", 0, "ok"), ("cpu", 1, "ok"), ("cuda", 0, "problem")]
)
def test_the_gpu_is_compared_with_the_site_file(monkeypatch, device, gpus, verdict):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H200")
    found = check_gpu(device)
    assert found.verdict == verdict
    assert ("does not use yet" in found.said) == (gpus > 0)
