"""A run as the trainer tells it, with any number of sites and rounds, made without training."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedefm.config import FederationConfig, ModelConfig, RunConfig, dump

NAMES = (
    "Aachen", "Bern", "Cambridge", "Danderyd", "Erasmus MC", "Freiburg", "Geneva", "Heidelberg",
    "Innsbruck", "Jena", "Karolinska", "Leuven", "Maastricht University Medical Center", "Nantes",
    "Oslo", "Porto",
)  # fmt: skip
CORPORA = (
    "X-ray angiography", "low-dose fluoroscopy", "neuro DSA", "fetal ultrasound", "retina",
    "dermoscopy", "nuclei microscopy", "chest X-ray",
)  # fmt: skip
MODEL_BYTES = 310_000


class ExampleRun:
    """Tells a run round by round; each part can be changed or left out by a test."""

    def __init__(self, sites: int = 4, rounds: int = 12, seed: int = 0) -> None:
        self.sites = list(NAMES[:sites])
        self.rounds = rounds
        self.topology = "ring"
        self.scenario = "decentralized"
        self.edges = [[a, self.sites[i - 1]] for i, a in enumerate(self.sites) if i or sites > 2]
        self.classes = CORPORA if sites <= 8 else tuple(f"corpus {i + 1}" for i in range(sites))
        self.missing: dict[tuple[str, int], tuple[str, str]] = {}
        self.draw = np.random.default_rng(seed)
        self.events: list[dict[str, Any]] = []
        self.clock = 1.78e9

    def add(self, kind: str, **fields: Any) -> None:
        self.clock += float(self.draw.uniform(0.02, 0.1))
        self.events.append({"time": round(self.clock, 3), "event": kind, **fields})

    def tell(self) -> "ExampleRun":
        self.start()
        for number in range(self.rounds):
            self.tell_round(number)
        for site in self.sites:
            told = {"round": self.rounds - 1, "site": site, "model": "global", "split": "test"}
            self.add("evaluated", **told, accuracy=0.71, low=0.6, high=0.8, images=20)
        self.tell_confusion()
        self.add("run_finished", status="finished", seconds=self.clock - 1.78e9)
        return self

    def tell_confusion(self) -> None:
        """Of 20 test images of a corpus 14 are recognized, of the first all, of the last 8.

        What is not is taken for the next one.
        """
        count = len(self.classes)
        right = [20, *[14] * (count - 2), 8]
        counts = [
            [right[i] if i == j else (20 - right[i]) * (j == (i + 1) % count) for j in range(count)]
            for i in range(count)
        ]
        told = {"round": self.rounds - 1, "split": "test", "classes": list(self.classes)}
        self.add("confusion", **told, counts=counts)

    def start(self, resumed_from: int | None = None) -> None:
        self.add(
            "run_started", name="example", seed=1, scenario=self.scenario, algorithm="fedefm",
            update="swap", topology=self.topology, schedule="matchings", rounds=self.rounds,
            sites=self.sites, edges=self.edges, where="process", parameters=77_412,
            model_bytes=MODEL_BYTES, device="cpu", resumed_from=resumed_from,
            versions={"fedefm": "0.1.0", "Python": "3.11.2", "PyTorch": "2.6.0", "NumPy": "2.2.0"},
        )  # fmt: skip
        self.add("corpora", holdings=self.holdings())

    def holdings(self) -> dict[str, dict[str, dict[str, int]]]:
        shared: dict[str, dict[str, dict[str, int]]] = {site: {} for site in self.sites}
        for i, corpus in enumerate(self.classes):
            train = 120 + 37 * (i % 5)
            held = shared[self.sites[i % len(self.sites)]]
            held[corpus] = {"train": train, "validation": 20, "test": 20}
        return shared

    def tell_round(self, number: int) -> None:
        self.add("round_started", round=number)
        progress = 1 - math.exp(-3 * (number + 1) / self.rounds)
        here = [s for s in self.sites if (s, number) not in self.missing]
        for place, site in enumerate(self.sites):
            self.tell_site(number, progress, place, site)
        reasons = {s: self.missing[s, number][1] for s in self.sites if s not in here}
        self.add("round_finished", round=number, participants=here, missing=reasons, seconds=1.4)
        for place, site in enumerate(here):
            self.evaluate(number, site, 0.2 + (0.6 + 0.01 * place) * progress)
        self.evaluate(number, "global", 0.125 + 0.62 * progress)
        self.add("checkpoint", round=number)

    def tell_site(self, number: int, progress: float, place: int, site: str) -> None:
        status, reason = self.missing.get((site, number), ("ok", None))
        fields: dict[str, Any] = {"round": number, "site": site, "status": status, "unheard": []}
        if status != "ok":
            self.add("round", **fields, reason=reason, loss=None)
            return
        train = float(self.draw.uniform(0.5, 0.9)) * (1 + place / 10)
        self.add(
            "round", **fields, loss=2.1 - 1.5 * progress + float(self.draw.normal(0, 0.08)),
            seconds=train + 0.5, train_seconds=train, exchange_seconds=0.2, learning_rate=0.03,
            sent_bytes=MODEL_BYTES * (2 if number % 3 == 2 else 1), received_bytes=MODEL_BYTES,
        )  # fmt: skip
        for a, b in self.edges if number % 3 == 2 else []:
            if site in (a, b):
                other = b if site == a else a
                value = 0.93 - 0.1 * progress + float(self.draw.normal(0, 0.015))
                self.add("similarity", round=number, student=site, expert=other, value=value)

    def hide_single_numbers(self) -> "ExampleRun":
        """Tell the same run as one whose sums are secure: pooled numbers, every third round."""
        told, self.events = self.events, []
        for event in told:
            if event["event"] in ("corpora", "evaluated", "similarity", "confusion"):
                continue
            self.events.append({**event, "loss": None} if event["event"] == "round" else event)
            if event["event"] == "round_finished" and event["round"] % 3 == 2:
                self.tell_sum(event["round"], "own", "validation", trained_on=640)
        self.tell_sum(self.rounds - 1, "global", "test")
        return self

    def tell_sum(self, number: int, model: str, split: str, **more: Any) -> None:
        fields = {"loss": None, "similarity": None, "trained_on": None, **more}
        if model == "own":
            fields |= {"loss": 2 - number / 10, "similarity": 0.9 - number / 100}
        accuracy = 0.3 + number / 40
        self.add(
            "metrics", round=number, model=model, split=split, sites=len(self.sites),
            accuracy=accuracy, images=160, sent_bytes=100, **fields,
        )  # fmt: skip

    def evaluate(self, number: int, site: str, accuracy: float) -> None:
        accuracy = min(1.0, max(0.0, accuracy + float(self.draw.normal(0, 0.015))))
        self.add(
            "evaluated", round=number, site=site, split="validation", accuracy=accuracy, images=160
        )

    def position(self, kind: str, number: int) -> int:
        """Where the first event of a kind and round stands."""
        events = enumerate(self.events)
        return next(i for i, e in events if e["event"] == kind and e.get("round") == number)

    def result(self) -> dict[str, Any]:
        metrics = {
            "global_accuracy": 0.713, "global_accuracy_low": 0.664, "global_accuracy_high": 0.758,
            "mean_site_accuracy": 0.709, "mean_local_accuracy": 0.587,
        }  # fmt: skip
        sent = sum(e.get("sent_bytes", 0) for e in self.events)
        return {
            "schema": 1, "scenario": self.scenario, "algorithm": "fedefm",
            "topology": self.topology, "rounds": self.rounds, "sites": self.sites,
            "participation": {}, "metrics": metrics,
            "privacy": dict.fromkeys(self.sites),
            "traffic_bytes": {"total": sent, "per_round": sent / self.rounds},
            "seconds": {"total": 31.0, "train": 40.0, "exchange": 9.0},
            "protection": {
                "differential_privacy": False, "secure_sums": False,
                "end_to_end_encryption": False, "simulated": True,
            },
        }  # fmt: skip

    def write(self, folder: Path, result: bool = True) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        config = RunConfig(
            name="example",
            model=ModelConfig(classes=self.classes),
            federation=FederationConfig(rounds=self.rounds),
        )
        (folder / "run.yaml").write_text(dump(config))
        lines = [json.dumps(event) + "\n" for event in self.events]
        (folder / "events.jsonl").write_text("".join(lines))
        if result:
            (folder / "result.json").write_text(json.dumps(self.result()))
        return folder

    def write_overlays(self, folder: Path, images: int = 8) -> None:
        (folder / "segmentation").mkdir()
        entries = []
        for i in range(images):
            pixels = self.draw.normal(110, 12, (64, 64, 3)).clip(0, 255).astype("uint8")
            pixels[range(64), [(j * j // 90 + i) % 64 for j in range(64)]] = (240, 180, 20)
            Image.fromarray(pixels).save(folder / "segmentation" / f"{i:04d}.png")
            dice = {"catheter": 0.1 * i, "guidewire": 0.08 * i}
            entries.append({"file": f"{i:04d}.png", "dice": dice})
        (folder / "segmentation" / "scores.json").write_text(json.dumps({"images": entries}))


@pytest.fixture(scope="session")
def example_run() -> Callable[..., ExampleRun]:
    """A maker of example runs."""
    return ExampleRun
