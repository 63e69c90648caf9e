"""The mode is said by a site's file and the share by the run file; batches are where they meet."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from fedefm.config import RunConfig
from fedefm.data.masked import MaskedBatch, MaskedFrames
from fedefm.data.scan_mode import ULTRAFEDFM, to_convex, to_linear
from fedefm.train.assemble import find_manifest, load_data
from fedefm.train.run import run_in_process
from nvflare_jobs.parties.site_work import SiteWork
from nvflare_jobs.parties.terms import terms_for
from nvflare_jobs.protect import ByLedger

MODES = {"hosp-a": "linear", "hosp-b": "convex", "hosp-c": None}
OTHER: dict[str | None, Callable[[Tensor], Tensor]] = {
    "linear": lambda images: to_convex(images, None, ULTRAFEDFM)[0],
    "convex": lambda images: to_linear(images, None, ULTRAFEDFM)[0],
    None: lambda images: images,
}
PRIVATE = {"dp": {"noise_multiplier": 1.0, "patients_per_step": 4}}


@pytest.fixture
def probes(hospitals: Path, tmp_path: Path) -> Path:
    """A hospital of each scan mode, and one that has mixed images and says nothing."""
    folder = Path(shutil.copytree(hospitals, tmp_path / "sites"))
    for site, mode in MODES.items():
        entry = {"manifest": "manifest.csv"} | ({"scan_mode": mode} if mode else {})
        held = {"datasets": {"pretraining": entry}, "ledger": "ledger.sqlite"}
        (folder / site / "fedefm_site.yaml").write_text(yaml.safe_dump(held))
    return folder


def converting(run: RunConfig, share: float = 1.0, **changes: Any) -> RunConfig:
    told = {
        **run.model_dump(exclude={"model"}),
        "model": {"backbone": "vit_micro", "image_size": 16},
        "masking": {"convert": share},
        "training": {"batch_size": 4, "augment": "none"},
        **changes,
    }
    return RunConfig.model_validate(told)


@pytest.mark.parametrize("privacy", [{}, PRIVATE], ids=["plain", "private"])
def test_each_site_trains_on_its_images_in_the_other_mode_and_is_judged_by_them_as_they_are(
    make_run: Any, probes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, privacy: Any
) -> None:
    run = converting(make_run(scenario="client_server", algorithm="fedavg"), privacy=privacy)
    batches: list[tuple[MaskedFrames, bool, MaskedBatch]] = []
    plain = MaskedFrames.batch

    def watched(
        frames: MaskedFrames, rows: Tensor, views: Any = None, rng: Any = None
    ) -> MaskedBatch:
        batches.append((frames, rng is not None, plain(frames, rows, views, rng)))
        return batches[-1][-1]

    monkeypatch.setattr(MaskedFrames, "batch", watched)
    protect = ByLedger() if privacy else None
    run_in_process(run, probes, tmp_path / "run", protect=protect)
    files = {site: probes / site / "fedefm_site.yaml" for site in MODES}
    held = {s: load_data(s, find_manifest(f, "pretraining"), run) for s, f in files.items()}
    own = {site: splits.train.images for site, splits in held.items()}
    trained = set()
    for frames, training, batch in batches:
        images = frames.images[batch.rows].float() / 255
        site = next((s for s in own if torch.equal(own[s], frames.images)), None)
        assert training == (site is not None)  # held-out images only judge
        expected = OTHER[MODES[site]](images) if site else images
        torch.testing.assert_close(batch.clean, expected)
        trained.add(site)
    assert trained == {*MODES, None}


@pytest.mark.parametrize(("site", "mode"), MODES.items())
def test_a_site_in_a_job_goes_by_its_own_file(
    make_run: Any, probes: Path, tmp_path: Path, site: str, mode: str | None
) -> None:
    run = converting(make_run(scenario="client_server", algorithm="fedavg"))
    file = probes / site / "fedefm_site.yaml"
    work = SiteWork(site, terms_for(run, tuple(MODES)), file, tmp_path / "state", False, True)
    frames = work._data.train
    assert isinstance(frames, MaskedFrames)
    batch = frames.batch(torch.arange(3), rng=torch.Generator().manual_seed(0))
    torch.testing.assert_close(batch.clean, OTHER[mode](frames.images[:3].float() / 255))


def test_a_mode_without_a_share_to_convert_changes_no_run(
    make_run: Any, probes: Path, hospitals: Path, tmp_path: Path
) -> None:
    run = converting(make_run(scenario="client_server", algorithm="fedavg"), share=0.0)
    one, other = (
        run_in_process(run, sites, tmp_path / name) / "model.safetensors"
        for sites, name in ((probes, "said"), (hospitals, "unsaid"))
    )
    assert one.read_bytes() == other.read_bytes()
