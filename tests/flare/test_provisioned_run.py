"""A run on really provisioned sites: kits, scripts, submission, result."""

import json
from pathlib import Path

import pytest
from loopback import SERVER, Federation
from tiny import SITES, tiny_run

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]


@pytest.mark.timeout(600)
def test_a_job_submitted_to_provisioned_sites_leaves_a_run_folder(
    tmp_path: Path, tiny_sites: Path
) -> None:
    with Federation(tmp_path, tiny_sites, SITES) as federation:
        federation.provision()
        federation.start()
        federation.be("lead@hub.org")
        federation.wait_ready()
        job = federation.submit(federation.export(tiny_run()))
        assert federation.wait(job) == "FINISHED:COMPLETED"
        folder = federation.download(job)
        result = json.loads((folder / "result.json").read_text())
        assert result["participation"] == {site: [0, 1, 2] for site in SITES}
        assert result["protection"]["end_to_end_encryption"] is True
        assert (federation.kit(SERVER) / "jobs").is_dir()  # and not in a folder of everybody
