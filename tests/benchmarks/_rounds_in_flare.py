"""Wall seconds of a round in FLARE's simulator, next to the same run file in one process.

Four sites with simulated fluoroscopy, one process each, and the server; weights travel through
FLARE. All of them share this machine's cores, so the figure is one of this machine. Both ways save
the state after every round, as a run does.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fedefm.config import RunConfig
from fedefm.data.corpora import split_corpora
from fedefm.data.simulated import write_dataset
from fedefm.data.site_folders import write_sites
from fedefm.events import read_events
from fedefm.train.run import run_in_process
from fedefm.train.run_files import EVENTS
from nvflare_jobs.simulator import run_in_simulator

SITES = 4
DOMAINS = ("phantom", "animal", "cardiac", "neuro_dsa")
PATIENTS, FRAMES, SIDE = 16, 4, 64  # of each domain; pixels


def seconds_a_round(run: RunConfig, rounds: int) -> dict[str, float]:
    """Medians over ``rounds``, and what FLARE takes besides them."""
    model = run.model.model_copy(update={"classes": ()})  # those of the simulated images
    federation = run.federation.model_copy(update={"rounds": rounds})
    run = run.model_copy(update={"model": model, "federation": federation})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sites = _make_sites(folder)
        alone, _ = _play(run_in_process, run, sites, folder / "process")
        flare, besides = _play(run_in_simulator, run, sites, folder / "simulator")
    return {
        "seconds_per_round": flare,
        "start_and_end_s": besides,
        "in_process_seconds_per_round": alone,
    }


def _make_sites(folder: Path) -> Path:
    manifest = write_dataset(folder / "data", DOMAINS, PATIENTS, FRAMES, SIDE, seed=1)
    division = split_corpora([manifest], SITES, 1.0, seed=1)
    write_sites(division, [manifest], folder / "sites")
    return folder / "sites"


def _play(
    way: Callable[[RunConfig, Path, Path], object], run: RunConfig, sites: Path, out: Path
) -> tuple[float, float]:
    """``(median seconds of a round, seconds besides all rounds)``."""
    started = time.perf_counter()
    way(run, sites, out)
    elapsed = time.perf_counter() - started
    events = read_events(out / EVENTS)
    taken = [event["seconds"] for event in events if event["event"] == "round_finished"]
    return statistics.median(taken), elapsed - sum(taken)
