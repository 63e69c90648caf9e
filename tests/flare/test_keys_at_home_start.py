"""A server and a site whose private keys were never anywhere else."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from loopback import SERVER, Federation

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]
SITE, ADMIN = "hosp-a", "admin@hub.org"


class KeysAtHome(Federation):
    """Each participant with a folder of its own, in which it has made its key."""

    def provision(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.fedefm(
            *("provision", "init", "--name", "loopback", "--server", SERVER),
            *("--port", str(self.port), "--out", str(self.hub), "--site", SITE, "--admin", ADMIN),
            *("--lead", "lead@hub.org", "--keys-at-home"),
        )
        self.nvflare("cert", "init", "--profile", str(self.hub / "profile.yml"), "-o", str(self.ca))
        root = json.loads((self.ca / "ca.json").read_text())["rootCA_fingerprint"]
        for name in (SERVER, SITE, ADMIN):
            self._take_part(name, root)
        self.write_site_file(SITE)

    def _take_part(self, name: str, root: str) -> None:
        own = self.folder / "at" / name
        signed = own / f"{name}.signed.zip"
        own.mkdir(parents=True)
        shutil.copy(self.hub / "requests" / f"{name}.yml", own)
        asked = own / "request"
        self.nvflare("cert", "request", "-p", str(own / f"{name}.yml"), "--out", str(asked))
        approve = ("cert", "approve", str(asked / f"{name}.request.zip"), "-c", str(self.ca))
        self.nvflare(*approve, "--profile", str(self.hub / "profile.yml"), "--out", str(signed))
        package = ("package", str(signed), "--request-dir", str(asked), "--fingerprint", root)
        self.nvflare(*package, "-w", str(own / "kits"))

    @property
    def hub(self) -> Path:
        return self.folder / "hub"

    @property
    def ca(self) -> Path:
        return self.hub / "ca"

    def kit(self, name: str) -> Path:
        return self.folder / "at" / name / "kits" / "loopback" / "prod_00" / name


@pytest.mark.timeout(600)
def test_a_server_and_a_site_with_keys_of_their_own_find_each_other(
    tmp_path: Path, tiny_sites: Path
) -> None:
    with KeysAtHome(tmp_path, tiny_sites, (SITE,), people={ADMIN: "project_admin"}) as federation:
        federation.provision()
        federation.start()
        federation.be(ADMIN)
        federation.wait_ready()
        stores = federation.kit(SERVER)
        used: subprocess.CompletedProcess[str] = federation.fedefm(
            "provision", "check", str(stores), "--json"
        )
        assert {one["verdict"] for one in json.loads(used.stdout)["findings"]} == {"ok"}
