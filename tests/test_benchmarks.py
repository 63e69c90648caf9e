"""Every benchmark still runs, with tiny sizes and generated images: what it measures means nothing.

``make bench`` runs the short forms, which take minutes. Here each script's ``main`` is called in
this process with its own sizes made smaller, and its JSON is read.
"""

import dataclasses
import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fedefm.data.manifest import read_manifest
from fedefm.data.unlabeled import refuse_labels
from fedefm.report.transfer_file import read_transfer

BENCHMARKS = Path(__file__).parent / "benchmarks"
ELSEWHERE = {"flare_round"}  # tests/flare/test_flare_round.py: it provisions and starts sites
Script = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the scripts share is imported anew for each test, and gone afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before, threads = set(sys.modules), torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or ".").parent == BENCHMARKS:
            del sys.modules[name]


@pytest.fixture
def load() -> Callable[[str], ModuleType]:
    """A script as a module; it is loaded once in a test."""

    def load(name: str) -> ModuleType:
        known = f"benchmark_{name}"
        if known not in sys.modules:
            spec = importlib.util.spec_from_file_location(known, BENCHMARKS / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            sys.modules[known] = importlib.util.module_from_spec(spec)  # workers look it up there
            spec.loader.exec_module(sys.modules[known])
        return sys.modules[known]

    return load


@pytest.fixture
def few_frames(monkeypatch: pytest.MonkeyPatch, modules: None) -> None:
    """The privacy benchmarks' task with few patients."""
    task = importlib.import_module("_fluoroscopy_task")
    monkeypatch.setattr(task, "TESTED", {"validation": 4, "test": 4})
    monkeypatch.setattr(task, "PART", 16)


@pytest.fixture
def result_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """What a script writes for these arguments."""

    def result_of(script: ModuleType, *arguments: object) -> dict[str, Any]:
        out = tmp_path / "result.json"
        command = [str(script.__file__), "--json", str(out), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        script.main()
        found: dict[str, Any] = json.loads(out.read_text())
        return found

    return result_of


def numbers_of(found: Any) -> Iterator[float]:
    """Every number in it, however deep."""
    if isinstance(found, dict | list):
        for value in found.values() if isinstance(found, dict) else found:
            yield from numbers_of(value)
    elif isinstance(found, int | float) and not isinstance(found, bool):
        yield float(found)


def write_task(path: Path, corpora: int = 9) -> Path:
    """A task of ``_corpora_task`` as it is kept, of noise: four patients a corpus to train on."""
    patients = {"train": 4, "validation": 1, "test": 1}
    counts = {split: corpora * count for split, count in patients.items()}
    draw = torch.Generator().manual_seed(0)
    images, labels, owners, first = {}, {}, {}, 0
    for split, count in counts.items():
        shape = (count, 1, 32, 32)
        images[split] = torch.randint(256, shape, generator=draw, dtype=torch.uint8)
        labels[split] = torch.arange(count) % corpora
        owners[split] = first + torch.arange(count)
        first += count
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save((images, labels, owners, tuple(f"kind-{k}" for k in range(corpora))), path)
    return path


def test_every_script_has_a_test() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("[a-z]*.py")} - ELSEWHERE
    tests = {name.removeprefix("test_the_benchmark_of_") for name in globals()}
    assert scripts <= tests


@pytest.fixture
def run(load: Any, result_of: Script, monkeypatch: pytest.MonkeyPatch) -> Script:
    """A script's result with some of its constants and functions replaced, each by its name.

    A function is replaced by what ``smaller`` makes of it. Every number must be finite.
    """

    def run(name: str, *arguments: object, **smaller: Any) -> dict[str, Any]:
        script = load(name)
        for known, value in smaller.items():
            old = getattr(script, known)
            monkeypatch.setattr(script, known, value(old) if callable(old) else value)
        found = result_of(script, *arguments)
        numbers = list(numbers_of(found))
        assert numbers
        assert all(map(math.isfinite, numbers))
        return found

    return run


def always(*arguments: object) -> Callable[..., Any]:
    """A function called with these arguments, whatever it is asked for."""
    return lambda function: lambda *_, **__: function(*arguments)


def test_the_benchmark_of_accounting(run: Script) -> None:
    found = run("accounting", "--quick", STEPS=(20,), RUNS=2, TIMED=2, ledger_pace=always(20))
    assert found["ledger"]["entries"] == 20


def test_the_benchmark_of_emd(run: Script) -> None:
    def few(compare: Any) -> Any:
        return lambda batch, nodes, regime, repetitions: compare(2, nodes, regime, 1)

    found = run("emd", "--quick", CHANNELS=4, compare=few, thread_scaling=always(2, 25, 1))
    assert found["49"]["gradient_cosine"] > 0.999


def test_the_benchmark_of_dp_step(run: Script, load: Any) -> None:
    case = load("dp_step").Case(32, 8, patch=8)

    def here(memory: Any) -> Any:  # not in a process of its own, which knows no smaller cases
        return lambda name, way, batch: 1.0

    found = run("dp_step", "--quick", CASES={"vit64": case}, memory=here)
    assert found["vit64"]["chosen"] in found["vit64"]["backends"]


def test_the_benchmark_of_secagg(run: Script) -> None:
    def here(memory: Any) -> Any:
        return lambda length: {"member": 1.0}

    found = run("secagg", "--quick", SIZES={"1M": 2000}, memory=here, errors=always(500, 3))
    assert found["error"]["t3"]["norm_28_bits"] < 1e-4


def test_the_benchmark_of_rounds(run: Script) -> None:
    small = {"measure_memory": lambda _: lambda count: {"rss_mib": 1.0, "peak_rss_mib": 1.0}}
    found = run("rounds", "--quick", SITES=(4,), QUICK_CYCLES={4: 1}, anatomy=always(1), **small)
    assert found["4"]["rounds_per_s"] > 0


def test_the_benchmark_of_simulator(run: Script) -> None:
    from fedefm.data.fluoroscopy import DOMAINS

    two = {name: DOMAINS[name] for name in ("cardiac", "neuro_dsa")}
    found = run("simulator", "--quick", DOMAINS=two, SIZE=64, speed=always(1, None))
    assert set(found["kinds"]) == set(two)


def test_the_benchmark_of_wire(run: Script, tmp_path: Path) -> None:
    for wire in ("float32", "bfloat16"):
        write_task(tmp_path / "quick" / wire / "task.pt")
    found = run("wire", "--quick", "--work", tmp_path, QUICK_TRANSFERS=6)
    assert found


def test_the_benchmark_of_learning(run: Script, load: Any, tmp_path: Path) -> None:
    write_task(tmp_path / "quick" / "task.pt")
    scope = load("learning").Scope(("local", "gossip", "fedefm"), (4,), (0,), (0.03,), 4, ())
    figure = tmp_path / "curves.svg"
    found = run("learning", "--quick", "--work", tmp_path, "--figure", figure, QUICK=scope)
    assert set(scope.methods) <= set(found)
    assert figure.stat().st_size


def test_the_benchmark_of_cohorts(run: Script, tmp_path: Path) -> None:
    write_task(tmp_path / "quick" / "task.pt")
    assert run("cohorts", "--quick", "--work", tmp_path)["9_sites"]


def test_the_benchmark_of_secure_learning(run: Script, tmp_path: Path) -> None:
    write_task(tmp_path / "quick" / "task.pt")
    found = run("secure_learning", "--quick", "--work", tmp_path, QUICK_LOSSES=("nobody silent",))
    assert found["sites"] == 9


@pytest.mark.usefixtures("few_frames")
def test_the_benchmark_of_private_learning(run: Script, load: Any, tmp_path: Path) -> None:
    scope = dataclasses.replace(load("private_learning").QUICK, patients=(10,), rounds=2, thin=1)
    found = run("private_learning", "--quick", "--work", tmp_path, QUICK=scope, TUNED_AT=10)
    assert found


@pytest.mark.slow
@pytest.mark.usefixtures("few_frames")
def test_the_benchmark_of_noise_shares(run: Script, tmp_path: Path) -> None:
    found = run("noise_shares", "--quick", "--work", tmp_path, PATIENTS=16, BATCH=8, DELTA=1e-3)
    assert found


def test_the_benchmark_of_segmentation(run: Script, load: Any, tmp_path: Path) -> None:
    tiny = dataclasses.replace(
        load("segmentation").QUICK,
        image_size=32,
        pretraining_size=32,
        train_patients=2,
        frames=1,
        rounds=2,
        steps=2,
        fractions=(1.0,),
        backbones=("resnet_micro",),
    )
    found = run("segmentation", "--quick", "--work", tmp_path, QUICK=tiny)
    assert set(found["backbones"]["resnet_micro"]["1"]) == {"foundation", "scratch", "gain"}


def test_the_benchmark_of_tiling(run: Script) -> None:
    small = {"TRAIN": range(2), "TEST": range(20, 22), "FRAMES": 1}
    found = run("tiling", "--size", 32, "--frame", 64, "--steps", 2, "--seeds", 0, 1, **small)
    assert len(found["results"]) == 6


@pytest.fixture
def two_sets(tmp_path: Path) -> Path:
    """A folder with noise in the layouts of the ultrasound and the chest set."""
    rng = np.random.default_rng(0)
    places = {"hc18-fetal-head/training_set": 10, "hc18-fetal-head/filled_masks": 10}
    places |= {"nih-cxr-mini/No_findings": 6, "nih-cxr-mini/Pneumonia": 6}
    for place, count in places.items():
        folder = tmp_path / "sets" / place
        folder.mkdir(parents=True)
        for number in range(count):
            first = 900 if folder.name == "Pneumonia" else 0
            name = f"{first + number:03d}_HC.png" if "hc18" in place else f"{first + number}_0.png"
            pixels = rng.integers(0, 256, (32, 32)).astype(np.uint8)
            mask = np.where(pixels > 99, 255, 0).astype(np.uint8)
            Image.fromarray(mask if "masks" in place else pixels).save(folder / name)
    return tmp_path / "sets"


@pytest.fixture
def tiny_autoencoders(load: Any, monkeypatch: pytest.MonkeyPatch, modules: None) -> Any:
    """The scope of the benchmark of UltraFedFM with a step or two of the smallest model."""
    quick = load("ultrafedfm").QUICK
    step = importlib.import_module("_mae_step")
    monkeypatch.setattr(step, "CASES", {"micro": step.Case("vit_micro", 32, 2, 1)})
    few = {"pixels": 32, "rounds": 1, "local_steps": 1, "images_a_step": 4, "steps": 2}
    learning = dataclasses.replace(quick.learning, fractions=(1.0,), tuned_at=1.0, **few)
    return dataclasses.replace(quick, cases=("micro",), repeats=2, learning=learning)


def test_the_benchmark_of_ultrafedfm(
    run: Script, two_sets: Path, tiny_autoencoders: Any, tmp_path: Path
) -> None:
    order = ("--quick", "--only", "step", "learning", "--data", two_sets, "--work", tmp_path / "w")
    found = run("ultrafedfm", *order, QUICK=tiny_autoencoders)
    assert 0 < found["step"]["micro"]["encoder_share"] < 1
    starts = {"scratch", "centralized", "random masks", "federated, 4 sites", "local, 4 sites"}
    assert set(found["learning"]["dice"]["1"]) == starts
    assert set(found["learning"]["explained"]) == starts - {"scratch"}
    assert [part["threads"] for part in found.values()] == [1, 1]


@pytest.mark.slow
@pytest.mark.flare
def test_the_benchmark_of_ultrafedfm_in_both_places(
    run: Script, two_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    order = ("--quick", "--only", "where", "--data", two_sets, "--work", tmp_path / "w")
    assert run("ultrafedfm", *order)["where"]["4 sites"]["plain"]["same_file"]


@pytest.mark.slow
def test_the_benchmark_of_data(run: Script, load: Any, tmp_path: Path) -> None:
    """Takes a minute: everything that it measures starts in a process of its own."""
    script = load("data")
    tiny = dataclasses.replace(script.QUICK, long=400, sources=("runs, JPEG-LS",))
    found = run("data", "--quick", "--work", tmp_path, QUICK=tiny)
    for key in ("simulate_s_per_frame", "ingest_frames_per_s", "loader_over_step"):
        assert found[key] > 0


def write_pictures(path: Path) -> Path:
    """The images of ``_meduniverse_data`` as they are kept, of noise: ten people a domain."""
    task = importlib.import_module("_meduniverse_data")
    rng, pictures = np.random.default_rng(0), {}
    for domain in task.DOMAINS:
        marked = domain.kind == "segmentation"
        labels = domain.classes if domain.kind == "classification" else ("90", "200")
        images = rng.integers(256, size=(10, task.SIZE, task.SIZE), dtype=np.uint8)
        pictures[domain.corpus] = [
            task.Picture(
                f"p{k}", image, image % 2 if marked else None, "" if marked else labels[k % 2]
            )
            for k, image in enumerate(images)
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(pictures, path)
    return path


@pytest.mark.slow
def test_the_benchmark_of_meduniverse(run: Script, load: Any, tmp_path: Path) -> None:
    script = load("meduniverse")
    write_pictures(tmp_path / "quick" / "pictures.pt")
    tiny = dataclasses.replace(
        script.QUICK,
        seeds=(0,),
        variants=((1.0, True),),
        domains=("fetal-head", "skin"),
        settings=dataclasses.replace(
            script.QUICK.settings,
            masking_rounds=1,
            stage_steps=1,
            curation={"images": 4, "steps": 1},
            steps=dict.fromkeys(script.QUICK.settings.steps, 1),
        ),
    )
    told = tmp_path / "transfer.json"
    found = run("meduniverse", "--quick", "--work", tmp_path, "--transfer", told, QUICK=tiny)
    assert {each["domain"] for each in found["transfer"]["scores"]} == {"fetal-head", "skin"}
    assert {len(s) for each in found["stages"] for s in each["scores"].values()} == {3}
    assert len(read_transfer(told).scores) == 4


def test_nobody_who_is_judged_in_meduniverse_is_in_the_pool_or_at_a_site(tmp_path: Path) -> None:
    task = importlib.import_module("_meduniverse_data")
    pictures = torch.load(write_pictures(tmp_path / "pictures.pt"), weights_only=False)
    seen = {}
    for explore in (False, True):
        folder = tmp_path / str(explore)
        task.write_world(folder, pictures, 0, explore)
        held = {
            name: {path.read_bytes() for path in folder.glob(pattern)}
            for name, pattern in (
                ("pool", "pool/public/[0-9]*.png"),
                ("trained", "sites/*/train-????.png"),
                ("judged", "judged/*/test-????.png"),
                ("unseen", "judged/skin/*-????.png"),
            )
        }
        assert all(held.values())
        assert held["judged"].isdisjoint(held["pool"] | held["trained"])
        assert held["unseen"].isdisjoint(held["pool"] | held["trained"])
        assert held["pool"].isdisjoint(held["trained"])
        refuse_labels(read_manifest(folder / "pool/public/manifest.csv"), "the pool")
        seen[explore] = held
    explored = seen[True]
    assert seen[False]["judged"].isdisjoint(set().union(*explored.values()))
