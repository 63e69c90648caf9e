"""What is measured in a round of a federation: models, ways of adding up, and tiny hospitals.

Rounds alternate: in one the weights are averaged, in the next experts travel to and fro. A site's
own work lasts equally long in both: in the second kind, half of it is another site's model's.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "flare"))
from tiny import CLASSES, write_tiny_sites

MODELS: dict[str, dict[str, Any]] = {
    "1M": {"backbone": "vit_tiny", "train_last": 2},  # 0.89 million numbers that travel
    "10M": {"backbone": "resnet18"},  # 11.2
    "86M": {"backbone": "vit_base"},  # 85.3
}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},  # pairs, as by default
    "secure": {"federation": {"schedule": "grid"}, "privacy": {"secagg": {}}},
}
KINDS = ("averaging", "expert")  # of rounds, in turn
SIDE = 32  # pixels of the images that the models see; tokens or maps of 2 x 2 and 1 x 1
DEADLINE_S = 600.0


def names_of(count: int) -> tuple[str, ...]:
    """``count`` sites."""
    return tuple(f"hosp-{k}" for k in range(count))


def write_sites(folder: Path, count: int) -> Path:
    """Their images."""
    return write_tiny_sites(folder, names_of(count))


def settings(size: str, way: str, rounds: int, wire: str) -> dict[str, Any]:
    """A run file's."""
    chosen = dict(WAYS[way])
    federation = {
        "rounds": rounds,
        "local_steps": 1,
        "host_steps": 1,
        "expert_every": len(KINDS),
        "evaluate_every": 10_000,
        "deadline_s": DEADLINE_S,
        "quorum": 1.0,
        **chosen.pop("federation", {}),
    }
    if wire != "float32":
        federation["wire"] = wire
    return {
        "name": f"round-{size}-{way}-{wire}",
        "model": {**MODELS[size], "image_size": SIDE, "classes": CLASSES},
        "training": {"batch_size": 1, "decay_at": 1.0, "learning_rate": 1e-3},
        "distill": {"pool": 1},
        "federation": federation,
        **chosen,
    }


def fits(local_s: float) -> list[float]:
    """How long each fit of a site lasts, over a cycle of rounds."""
    return [local_s, local_s / 2, local_s / 2]


def kinds_of(rounds: int) -> Iterator[str]:
    return itertools.islice(itertools.cycle(KINDS), rounds)
