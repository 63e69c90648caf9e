"""A site that was taken out of the project, with its certificate still valid."""

import shutil
from pathlib import Path

import pytest
from loopback import SERVER, Federation, until

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]
STAYS, GOES = "hosp-a", "hosp-B"


@pytest.mark.timeout(900)
def test_a_retired_site_is_refused_at_once_and_after_the_server_starts_again(
    tmp_path: Path, tiny_sites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Federation(tmp_path, tiny_sites, (STAYS, GOES)) as federation:
        federation.provision()
        installed = tmp_path / "installed"  # as the kits lie at server and sites
        shutil.copytree(federation.kit(SERVER).parent, installed)
        monkeypatch.setattr(federation, "kit", lambda name: installed / name)
        federation.start()
        federation.be("admin@hub.org")
        federation.wait_ready()

        project = tmp_path / "project" / "project.yml"
        told = federation.fedefm(
            *("provision", "retire", str(project), GOES, "--workspace", str(tmp_path / "kits"))
        ).stdout
        assert f"nvflare system disable-client {GOES} --force" in told
        assert federation.registered() == {STAYS, GOES}  # the server has not been told yet

        federation.nvflare("system", "disable-client", GOES, "--force")
        until("the retired site is gone", lambda: federation.registered() == {STAYS})

        log = tmp_path / f"{SERVER}.log"
        federation.kill(SERVER)
        before = log.stat().st_size
        federation.start(SERVER)
        federation.wait_ready([STAYS])
        federation.kill(GOES)  # a process that goes on sends signs of life, and does not register
        federation.start(GOES)
        until(
            "the server has refused the retired site again",
            lambda: f"Reject disabled client registration: {GOES}" in log.read_text()[before:],
        )
        assert federation.registered() == {STAYS}
