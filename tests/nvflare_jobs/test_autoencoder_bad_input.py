"""What a masked autoencoder cannot be made of, or make nothing of: told before training starts."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fedefm.data.manifest import Row, read_manifest, write_manifest
from fedefm.events import read_events
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.mae import build_masked_autoencoder

Fedefm = Any  # runs the console script
PAINTING: dict[str, Any] = {
    "name": "painting",
    "model": {"backbone": "vit_micro", "image_size": 32},
    "masking": {},
    "training": {"batch_size": 4},
    "federation": {
        "scenario": "client_server",
        "algorithm": "fedavg",
        "rounds": 2,
        "local_steps": 2,
        "evaluate_every": 1,
    },
}


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Exit code 2 and one sentence, without a traceback and without a patient."""
    code, out, err = result
    assert (code, out) == (2, ""), result
    assert err.startswith("fedefm: ")
    assert "Traceback" not in err
    assert "hosp-a-bars-" not in err  # how patients are called here
    for word in words:
        assert word in err


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """A run file with some settings changed, by section."""

    def write(**changes: Any) -> Path:
        merged = {
            name: {**PAINTING.get(name, {}), **part} if isinstance(part, dict) else part
            for name, part in changes.items()
        }
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({**PAINTING, **merged}))
        return path

    return write


@pytest.fixture
def own_hospitals(tmp_path: Path, four_hospitals: Path) -> Path:
    return Path(shutil.copytree(four_hospitals, tmp_path / "sites"))


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("autoencoder") / "model.safetensors"
    model = build_masked_autoencoder("vit_micro", 32, seed=1)
    save_checkpoint(path, model, model.info)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model": {"image_size": 36}},
            ["image_size 36 is not a multiple of the patch of vit_micro, 8 pixels", "use 32"],
        ),
        (
            {"model": {"backbone": "vit_tiny", "image_size": 16}},
            ["would leave nothing to see", "set model.image_size to 32"],
        ),
        (
            {"model": {"backbone": "resnet_micro"}},
            ["hides patches", "'resnet_micro' has none", "use one of vit_micro"],
        ),
        (
            {"federation": {"scenario": "decentralized", "algorithm": "fedefm"}},
            ["trains no labels", "is 'fedefm'", "use 'fedavg' (UltraFedFM)"],
        ),
        ({"model": {"classes": ["bars"]}}, ["has no use for model.classes"]),
        ({"masking": {"mask_ratio": 1.0}}, ["masking.mask_ratio = 1.0"]),
        ({"masking": {"masking": "edges"}}, ["masking.masking", "texture"]),
        ({"dataset": "ultrasound"}, ["dataset 'ultrasound' is not in", "knows pretraining"]),
    ],
)
def test_a_run_file_that_nothing_can_be_painted_by_is_refused(
    fedefm: Fedefm,
    write_run: Callable[..., Path],
    four_hospitals: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    words: list[str],
) -> None:
    run = write_run(**changes)
    refused(fedefm("run", run, "--sites", four_hospitals, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_an_image_with_values_that_are_no_numbers_is_refused(
    fedefm: Fedefm, write_run: Callable[..., Path], own_hospitals: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    pixels[3, 4] = np.nan
    replace_images(own_hospitals / "hosp-b", [pixels])
    result = fedefm("run", write_run(), "--sites", own_hospitals, "--out", tmp_path / "out")
    refused(result, "new-0.npy", "values that are not numbers")
    assert not (tmp_path / "out").exists()


def replace_images(site: Path, images: list[np.ndarray[Any, Any]]) -> None:
    """Put ``images`` in place of the first ones of ``site``."""
    rows = list(read_manifest(site / "manifest.csv").rows)
    for place, pixels in enumerate(images):
        np.save(site / f"new-{place}.npy", pixels)
        old = rows[place]
        rows[place] = Row(f"new-{place}.npy", 0, old.patient_id, old.corpus, "", "", old.split)
    write_manifest(site / "manifest.csv", rows)


@pytest.mark.parametrize("masking", ["texture", "random"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_some_constant_images_are_trained_on_as_any_others(
    fedefm: Fedefm,
    write_run: Callable[..., Path],
    own_hospitals: Path,
    tmp_path: Path,
    masking: str,
    optimizer: str,
) -> None:
    """Black, gray and white."""
    constant = [np.full((16, 16), level, np.float32) for level in (0, 0.5, 1)]
    replace_images(own_hospitals / "hosp-b", constant)
    run = write_run(masking={"masking": masking}, training={"optimizer": optimizer})
    code, out, _ = fedefm("run", run, "--sites", own_hospitals, "--out", tmp_path / "out", "--json")
    assert code == 0
    result = json.loads(out)
    assert all(turns == [0, 1] for turns in result["participation"].values())
    assert all(math.isfinite(value) for value in result["metrics"].values())
    losses = [
        e["loss"] for e in read_events(tmp_path / "out/events.jsonl") if e["event"] == "round"
    ]
    assert len(losses) == 8
    assert all(math.isfinite(loss) for loss in losses)


def test_a_site_of_nothing_but_constant_images_is_refused(
    fedefm: Fedefm, write_run: Callable[..., Path], own_hospitals: Path, tmp_path: Path
) -> None:
    constant = [np.full((16, 16), level, np.float32) for level in (0, 0.5, 1)]
    replace_images(own_hospitals / "hosp-a", constant * 8)
    out = tmp_path / "out"
    code, _, told = fedefm("run", write_run(), "--sites", own_hospitals, "--out", out)
    assert code == 2
    assert "each training image of the manifest in" in told
    assert "hosp-a" in told
    assert "is of one gray value" in " ".join(told.split())
    assert not out.exists()


def demand(sites: Path, name: str, min_cohort: int) -> None:
    path = sites / name / "fedefm_site.yaml"
    told = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**told, "policy": {"min_cohort": min_cohort}}))


@pytest.fixture
def six_hospitals(own_hospitals: Path) -> Path:
    for like, name in (("hosp-b", "hosp-e"), ("hosp-c", "hosp-f")):
        shutil.copytree(own_hospitals / like, own_hospitals / name)
        manifest = own_hospitals / name / "manifest.csv"
        manifest.write_text(manifest.read_text().replace(f"{like}-", f"{name}-"))
    return own_hospitals


def test_a_share_of_the_sites_too_small_to_hide_one_is_refused(
    fedefm: Fedefm, write_run: Callable[..., Path], six_hospitals: Path, tmp_path: Path
) -> None:
    demand(six_hospitals, "hosp-b", 4)
    secagg = {"privacy": {"secagg": {"largest_site": 20}}}
    run = write_run(federation={"participation": 0.5}, **secagg)
    order = ("--sites", six_hospitals, "--out", tmp_path / "out", "--json")
    refused(
        fedefm("run", run, *order),
        "hosp-b would be hidden among 2 others, and the site file demands 4 (policy.min_cohort)",
        "leave out federation.participation, or set it higher",
    )
    assert not (tmp_path / "out").exists()
    code, *_ = fedefm("run", write_run(**secagg), *order)  # as it was told
    assert code == 0


def test_more_others_than_there_are_sites_is_told_as_that(
    fedefm: Fedefm, write_run: Callable[..., Path], own_hospitals: Path, tmp_path: Path
) -> None:
    demand(own_hospitals, "hosp-b", 4)
    run = write_run(privacy={"secagg": {"largest_site": 20}}, federation={"participation": 0.5})
    refused(
        fedefm("run", run, "--sites", own_hospitals, "--out", tmp_path / "out"),
        "hosp-b would be hidden among 3 others",
        "at least 5 sites must take part, and there are 4",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--image-size", 36], ["image size 36 is not a multiple of the patch of 8", "use 32"]),
        (["--image-size", 8], ["image size 8 is not between 16 and 1024"]),
        (["--backbone", "resnet10"], ["resnet10", "vit_micro"]),
        (["--backbone", "vit_mini"], ["'vit_mini'", "vit_micro"]),
        (["--label-fraction", 0], ["label_fraction"]),
    ],
)
def test_what_its_encoder_cannot_be_fine_tuned_with_is_refused(
    fedefm: Fedefm,
    autoencoder: Path,
    masked_images: Path,
    tmp_path: Path,
    options: list[Any],
    words: list[str],
) -> None:
    order = ["finetune", masked_images / "manifest.csv", "--from", autoencoder, "--steps", 1]
    refused(fedefm(*order, *options, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_a_segmenter_of_its_encoder_needs_masks(
    fedefm: Fedefm, autoencoder: Path, four_hospitals: Path, tmp_path: Path
) -> None:
    manifest = four_hospitals / "hosp-a" / "manifest.csv"
    order = ["finetune", manifest, "--from", autoencoder, "--out", tmp_path / "out"]
    refused(fedefm(*order), "has no mask")
    assert not (tmp_path / "out").exists()


def test_labels_of_one_patient_teach_no_diagnosis(
    fedefm: Fedefm, autoencoder: Path, four_hospitals: Path, tmp_path: Path
) -> None:
    manifest = four_hospitals / "hosp-a" / "manifest.csv"
    order = ["finetune", manifest, "--from", autoencoder, "--out", tmp_path / "out"]
    refused(
        fedefm(*order, "--task", "diagnosis", "--label-fraction", 0.01),
        "to learn from",
        "take a larger share of labels",
    )
    assert not (tmp_path / "out").exists()


@pytest.fixture
def site(tmp_path: Path, masked_images: Path) -> Path:
    folder = Path(shutil.copytree(masked_images, tmp_path / "site"))
    told = {"datasets": {"segmentation": {"manifest": "manifest.csv"}}, "ledger": "ledger.sqlite"}
    (folder / "fedefm_site.yaml").write_text(yaml.safe_dump(told))
    return folder / "fedefm_site.yaml"


def test_private_labels_of_nobody_are_refused_and_nothing_is_spent(
    fedefm: Fedefm, autoencoder: Path, site: Path, tmp_path: Path
) -> None:
    order = ["finetune", "--site", site, "--dataset", "segmentation", "--epsilon", 8]
    order += ["--from", autoencoder, "--out", tmp_path / "out", "--steps", 2, "--classes", "a,b"]
    refused(
        fedefm(*order, "--label-fraction", 0.01),
        "label fraction 0.01 leaves none of the training patients",
    )
    assert not (tmp_path / "out").exists()
    assert not (site.parent / "ledger.sqlite").exists()


def test_that_one_patient_is_all_there_was_to_learn_from_is_said(
    fedefm: Fedefm, autoencoder: Path, masked_images: Path, tmp_path: Path
) -> None:
    """It is a point of a curve over shares of labels, and no mistake in itself."""
    order = ["finetune", masked_images / "manifest.csv", "--from", autoencoder, "--steps", 1]
    order += ["--classes", "a,b", "--label-fraction", 0.01, "--out", tmp_path / "out"]
    code, out, _ = fedefm(*order)
    assert code == 0
    assert "on 1 image of 1 patient;" in " ".join(out.split())
