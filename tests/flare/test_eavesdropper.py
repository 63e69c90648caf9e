"""Whoever owns the server keeps all that it relays, and finds no model in it.

The weights are known: training is so slow that they stay what the seed made them.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import relay_tap
import torch
from loopback import SERVER, Federation
from tiny import CLASSES, tiny_run

from fedefm.config import RunConfig
from fedefm.model.weights import weights_of
from fedefm.train.assemble import build_model

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]

SITES = ("hosp-a", "hosp-B")
WINDOW = 64  # bytes; 16 weights in a row
WINDOWS = 200  # looked for, at random places
HALF, WHOLE = 0.5, 1.0  # what a site sends its partner: its part of a mean of two, or its weights
MEGABYTE = 2**20


def run_file(name: str) -> dict[str, Any]:
    """A model of several megabytes, which FLARE streams in pieces."""
    run = tiny_run(name, rounds=2, expert_every=2, deadline_s=120)
    run["model"] = {"backbone": "vit_tiny", "image_size": 32, "classes": CLASSES}
    run["training"] = {**run["training"], "learning_rate": 1e-30, "momentum": 0.0}
    return run


@pytest.fixture(scope="module")
def tap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tap")


@pytest.fixture(scope="module")
def federation(
    tmp_path_factory: pytest.TempPathFactory, tiny_sites: Path, tap: Path
) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("overheard")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        environment.setenv(relay_tap.FOLDER, str(tap))
        with Federation(folder, tiny_sites, SITES) as made:
            made.provision()
            _add_component(made, SERVER, "tap__p_resources.json", "relay_tap.RelayTap")
            made.start()
            made.be("lead@hub.org")
            made.wait_ready()
            yield made


@pytest.mark.timeout(900)
def test_no_weights_are_in_what_the_server_relays_and_all_are_without_encryption(
    federation: Federation, tap: Path
) -> None:
    _finish(federation, tap, "secret")
    sealed = Seen(tap)
    assert sealed.found == 0
    assert sealed.peer_bytes > MEGABYTE  # the model has passed
    assert sealed.clear_peer_bytes < 1000 * sealed.peer_messages  # but for FLARE's own words

    for site in SITES:
        _add_component(federation, site, "clear__j_resources.json", "in_the_clear.InTheClear")
    _finish(federation, tap, "clear")
    clear = Seen(tap)
    print(f"\nsealed: {sealed}\nclear:  {clear}")
    assert clear.found > 0.9 * WINDOWS


class Seen:
    """What the owner of the tap counts."""

    def __init__(self, tap: Path) -> None:
        payloads = (tap / relay_tap.PAYLOADS).read_bytes()
        told = [json.loads(line) for line in (tap / relay_tap.HEADERS).read_text().splitlines()]
        between = [each for each in told if _of_a_site(each["origin"]) and each["bytes"]]
        between = [each for each in between if _of_a_site(each["destination"])]
        self.messages, self.bytes = len(told), len(payloads)
        self.peer_messages = len(between)
        self.peer_bytes = sum(each["bytes"] for each in between)
        self.clear_peer_bytes = sum(each["bytes"] for each in between if not each["encrypted"])
        self.ways = Counter((e["channel"], e["topic"], e["encrypted"]) for e in between)
        self.found = sum(any(w in payloads for w in windows) for windows in _windows())

    def __str__(self) -> str:
        return (
            f"{self.found} of {WINDOWS} windows of {WINDOW} bytes in {self.bytes} bytes of "
            f"{self.messages} messages; between sites {self.peer_bytes} bytes in "
            f"{self.peer_messages}, {self.clear_peer_bytes} of them not encrypted; {self.ways}"
        )


def _windows() -> Iterator[tuple[bytes, ...]]:
    """Pieces of the known model, as a site would send them: whole, or its half of a mean."""
    model = build_model(RunConfig.model_validate(run_file("known")))
    weights = [t for t in weights_of(model).values() if _is_drawn(t)]
    draw = random.Random(1)
    for _ in range(WINDOWS):
        tensor = draw.choice(weights).flatten()
        begin = draw.randrange(tensor.numel() - WINDOW // 4)
        piece = tensor[begin : begin + WINDOW // 4]
        yield tuple((piece * part).numpy().tobytes() for part in (WHOLE, HALF))


def _is_drawn(tensor: torch.Tensor) -> bool:
    """Not zeros or ones, which are anywhere."""
    return tensor.numel() >= WINDOW and len(tensor.unique()) > tensor.numel() // 2


def _of_a_site(cell: str | None) -> bool:
    return bool(cell) and str(cell).split(".")[0] in SITES


def _finish(federation: Federation, tap: Path, name: str) -> None:
    for path in tap.iterdir():
        path.write_bytes(b"")
    job = federation.submit(federation.export(run_file(name)))
    assert federation.wait(job, 400) == "FINISHED:COMPLETED"
    result = json.loads((federation.download(job) / "result.json").read_text())
    assert result["participation"] == {site: [0, 1] for site in SITES}


def _add_component(federation: Federation, name: str, file: str, path: str) -> None:
    component = {"id": file.split("_")[0], "path": path, "args": {}}
    text = json.dumps({"format_version": 2, "components": [component]})
    (federation.kit(name) / "local" / file).write_text(text)
