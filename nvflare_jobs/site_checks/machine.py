"""Disk, memory and GPU of this machine, against what a run takes of them.

Figures of memory are resident sizes in a running federation with FLARE 2.9 and a tiny model. At a
site: 0.39 GB its own process, 0.22 that of a job, 0.46 the job's training. At the server: 0.16 and
0.49. The images come on top, at one byte a pixel, and the model.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import psutil

from fedefm.words import several
from provisioning.finding import Finding, ok, problem, warning

GIB = 2**30
BASE_GIB = {"site": 1.1, "server": 0.7}
SIZE = 224  # pixels a side; the largest that is common for foundation models of X-ray images
PLENTY_OF_DISK_GIB, LEAST_DISK_GIB = 10.0, 2.0
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_disk(places: Mapping[str, Path]) -> list[Finding]:
    """Free space, one finding for each disk; ``places`` are folders by what goes there."""
    disks: dict[int, list[str]] = {}
    free: dict[int, float] = {}
    for what, path in places.items():
        existing = next(each for each in (path, *path.parents) if each.exists())
        device = existing.stat().st_dev
        disks.setdefault(device, []).append(f"{what} ({path})")
        free[device] = shutil.disk_usage(existing).free / GIB
    return [_space(", ".join(disks[device]), free[device]) for device in disks]


def check_memory(
    role: Literal["site", "server"], images: int, limits: Iterable[Path] = CGROUP_LIMITS
) -> Finding:
    """Free memory against FLARE, the toolkit and ``images``; a container's limit counts."""
    needed = BASE_GIB[role] + images * SIZE**2 / GIB
    there = min([psutil.virtual_memory().available, *_limits(limits)]) / GIB
    of_images = f", {several(images, 'image')} of {SIZE} x {SIZE} pixels included" if images else ""
    said = (
        f"{there:.1f} GiB free; FLARE and a job take about {needed:.1f} GiB with a tiny "
        f"model{of_images}"
    )
    on_top = "; the model comes on top: 0.3 GiB each time an 86 M-parameter one is held"
    if there < needed:
        return problem("memory", said, "add memory, or end what else runs here")
    if there < 2 * needed:
        return warning("memory", said + on_top, "leave room for a larger model")
    return ok("memory", said + on_top)


def check_gpu(device: str) -> Finding:
    """What the site file's ``device`` means on this machine."""
    import torch  # loads slowly

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    seen = f"PyTorch {torch.__version__} sees "
    seen += f"{several(count, 'GPU')} ({torch.cuda.get_device_name(0)})" if count else "no GPU"
    if device != "cpu" and not count:
        return problem(
            "gpu",
            f"the site file says device {device!r}, and {seen}",
            "install driver and PyTorch for it, or set device: cpu",
        )
    unused = ", which pre-training does not use yet" if count and device == "cpu" else ""
    return ok("gpu", f"device {device!r}: pre-training computes there; {seen}{unused}")


def _space(where: str, free: float) -> Finding:
    said = f"{free:.1f} GiB free for {where}"
    if free < LEAST_DISK_GIB:
        return problem("disk", said, f"free at least {LEAST_DISK_GIB:g} GiB")
    if free < PLENTY_OF_DISK_GIB:
        return warning(
            "disk", said, "jobs and saved rounds stay until somebody removes them; plan for more"
        )
    return ok("disk", said)


def _limits(files: Iterable[Path]) -> list[int]:
    """What a container may take, where there is a limit."""
    found = []
    for path in files:
        try:
            found.append(int(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # none, or "max"
            continue
    return found
