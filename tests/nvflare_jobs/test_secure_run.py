"""``privacy: {secagg: ...}`` of a run file, from the command line to the sums, in one process."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from fedefm.config import RunConfig
from fedefm.train.run import run_in_process
from nvflare_jobs.secure import BySecureSums

FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}


def secure(run: RunConfig, **secagg: Any) -> RunConfig:
    settings = {"largest_site": 100, **secagg}
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"secagg": settings}})


def play(run: RunConfig, sites: Path, out: Path, resume: bool = False) -> dict[str, Any]:
    hide = BySecureSums(out / "state" / "secure_sums")
    run_in_process(run, sites, out, resume, hide=hide)
    return json.loads((out / "result.json").read_text())


def test_fedavg(make_run: Any, hospitals: Path, tmp_path: Path) -> None:
    run = make_run(**FEDAVG)
    run_in_process(run, hospitals, tmp_path / "plain")
    result = play(secure(run), hospitals, tmp_path / "secure")
    assert result["protection"]["secure_sums"] is True
    one = load_file(tmp_path / "plain" / "model.safetensors")
    other = load_file(tmp_path / "secure" / "model.safetensors")
    for name, value in one.items():
        assert torch.allclose(value, other[name], atol=1e-4), name
