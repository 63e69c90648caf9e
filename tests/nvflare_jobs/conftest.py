"""Three tiny hospitals on disk, and a run that they finish in a second."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

from fedefm.config import RunConfig
from fedefm.data.manifest import Row, write_manifest
from nvflare_jobs import cli

HOSPITALS = ("hosp-a", "hosp-b", "hosp-c")
CLASSES = ("bars", "disk", "square")
SPLITS = ("train", "train", "validation", "test")
SIZE = 16


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sites folder; nobody may change it."""
    folder = tmp_path_factory.mktemp("hospitals")
    rng = np.random.default_rng(0)
    for site in HOSPITALS:
        (folder / site).mkdir()
        rows = [_image(folder / site, kind, i, rng) for kind in CLASSES for i in range(8)]
        write_manifest(folder / site / "manifest.csv", rows)
        settings = {"datasets": {"pretraining": {"manifest": "manifest.csv"}}}
        (folder / site / "fedefm_site.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="session")
def four_hospitals(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One more, ``hosp-d``, so that a secure sum still hides its members when one is lost."""
    folder = Path(shutil.copytree(hospitals, tmp_path_factory.mktemp("four") / "sites"))
    shutil.copytree(folder / "hosp-a", folder / "hosp-d")
    manifest = folder / "hosp-d" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("hosp-a-", "hosp-d-"))
    return folder


@pytest.fixture(scope="session")
def masked_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients with a bright bar each and its mask; nobody may change them."""
    folder = tmp_path_factory.mktemp("masked")
    rng = np.random.default_rng(0)
    rows = []
    for k in range(8):
        image = rng.normal(120, 9, (48, 48)).astype(np.uint8)
        mask = np.zeros((48, 48), np.uint8)
        image[:, 4 * k + 8 : 4 * k + 10], mask[:, 4 * k + 8 : 4 * k + 10] = 240, 1
        Image.fromarray(image).save(folder / f"{k}.png")
        Image.fromarray(mask).save(folder / f"{k}_mask.png")
        split = "train" if k < 6 else ("validation", "test")[k - 6]
        rows.append(Row(f"{k}.png", 0, f"p{k}", "c", "", f"{k}_mask.png", split))
    write_manifest(folder / "manifest.csv", rows)
    return folder


@pytest.fixture
def fedefm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """``code, out, err = fedefm(...)``: the console script; ``err`` as one line."""

    def command(*words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fedefm", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, " ".join(printed.err.split())

    return command


@pytest.fixture
def tiny_run() -> RunConfig:
    return run_of()


def run_of(**federation: Any) -> RunConfig:
    settings = {
        "rounds": 3,
        "local_steps": 1,
        "host_steps": 1,
        "expert_every": 2,
        "evaluate_every": 2,
        "deadline_s": 20,
    }
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "model": {"backbone": "resnet_micro", "image_size": SIZE, "classes": CLASSES},
            "training": {"batch_size": 4, "decay_at": 1.0},
            "distill": {"pool": 2},
            "federation": {**settings, **federation},
        }
    )


@pytest.fixture
def left_behind() -> Callable[[], list[psutil.Process]]:
    """The processes, also ended ones not waited for, that came after the test began.

    Those before it are not its own: once files were read by several processes, Python's resource
    tracker stays as long as this one.
    """
    before = set(psutil.Process().children(recursive=True))
    return lambda: [p for p in psutil.Process().children(recursive=True) if p not in before]


@pytest.fixture(scope="session")
def make_run() -> Any:
    return run_of


def _image(folder: Path, kind: str, number: int, rng: np.random.Generator) -> Row:
    ys, xs = np.mgrid[:SIZE, :SIZE]
    x, y = rng.uniform(5, 11, 2)
    shape = {
        "disk": (xs - x) ** 2 + (ys - y) ** 2 < 12,
        "square": (abs(xs - x) < 3) & (abs(ys - y) < 3),
        "bars": (xs + int(x)) % 4 < 2,
    }[kind]
    pixels = np.clip(shape * 0.7 + rng.normal(0.15, 0.05, (SIZE, SIZE)), 0, 1)
    path = f"{kind}-{number}.png"
    Image.fromarray((pixels * 255).astype("uint8")).save(folder / path)
    split = SPLITS[number % len(SPLITS)]
    patient = f"{folder.name}-{kind}-{number}"
    return Row(path, 0, patient, kind, kind, "", split, "")
