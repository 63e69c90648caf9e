"""One short run file in one process and in FLARE's simulator, with and without what protects it."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from _mae_data import divide
from safetensors.torch import load_file

from fedefm.data.manifest import Manifest
from fedefm.data.site_folders import write_sites

PROTECTIONS = ("plain", "private", "secure sums", "both")
PATIENTS_A_STEP = 64  # of all private sites together
PLACES = ("process", "simulator")


@dataclass(frozen=True)
class Short:
    """How long a run is."""

    rounds: int = 10
    local_steps: int = 5
    protections: tuple[str, ...] = PROTECTIONS
    site_counts: tuple[int, ...] = (4, 16)


def privacy(protection: str, sites: int) -> dict[str, Any]:
    """That section of a run file; a site of many has few patients."""
    dp = {"epsilon": 8.0, "patients_per_step": PATIENTS_A_STEP // sites}
    parts = {"private": ["dp"], "secure sums": ["secagg"], "both": ["dp", "secagg"]}
    told = {"dp": dp, "secagg": {"largest_site": 64}}
    return {part: told[part] for part in parts.get(protection, [])}


def run_file(short: Short, protection: str, sites: int) -> dict[str, Any]:
    """The settings, but for the privacy the same for all."""
    return {
        "name": "ultrafedfm-short",
        "model": {"backbone": "vit_micro", "image_size": 64},
        "masking": {"masking": "texture"},
        "training": {
            "batch_size": 16,
            "optimizer": "adamw",
            "learning_rate": 0.001,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup_rounds": short.rounds // 10,
            "average_decay": 0,
        },
        "federation": {
            "scenario": "client_server",
            "algorithm": "fedavg",
            "rounds": short.rounds,
            "local_steps": short.local_steps,
        },
        "privacy": privacy(protection, sites),
    }


def run(
    protection: str,
    where: str,
    count: int,
    short: Short,
    manifests: Mapping[str, Manifest],
    work: Path,
) -> dict[str, Any]:
    """``fedefm run`` at ``count`` fresh sites. A finished run comes from ``work``."""
    folder = work / f"{protection.replace(' ', '-')}-{count}-{where}"
    facts = folder / "facts.json"
    if facts.exists():
        return dict(json.loads(facts.read_text()))
    attempt = sum(path.is_dir() for path in folder.glob("*/"))  # of an interrupted one is left
    sites, out = folder / f"sites-{attempt}", folder / f"run-{attempt}"
    write_sites(divide(manifests, count, seed=1), list(manifests.values()), sites)
    (folder / "run.yaml").write_text(yaml.safe_dump(run_file(short, protection, count)))
    seconds = _finished(folder / "run.yaml", sites, where, out)
    result = json.loads((out / "result.json").read_text())
    metrics = result["metrics"]
    spent = [told["epsilon"] for told in result["privacy"].values() if told]
    found = {
        "seconds": seconds,
        "explained": metrics["global_explained"],
        "sent_megabytes": result["traffic_bytes"]["total"] / 1e6,
        "epsilon": max(spent, default=None),
        "complete": all(len(t) == short.rounds for t in result["participation"].values()),
        "model": str(out / "model.safetensors"),
    }
    facts.write_text(json.dumps(found))
    return found


def _finished(run_file: Path, sites: Path, where: str, out: Path) -> float:
    """Wall time of the command. Raises RuntimeError where it fails."""
    order = ["run", run_file, "--sites", sites, "--where", where, "--out", out, "--json"]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "nvflare_jobs.cli", *map(str, order)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"a run by {where} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - started


def apart(one: Path, other: Path) -> dict[str, Any]:
    """Whether two models are the same file, and else how far their weights are from each other."""
    ours, theirs = load_file(one), load_file(other)
    return {
        "same_file": one.read_bytes() == other.read_bytes(),
        "largest_difference": max(float((ours[n] - theirs[n]).abs().max()) for n in ours),
    }
