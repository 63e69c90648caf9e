"""A running server as a preflight sees it, and a kit of another release, which does not start."""

import json
from pathlib import Path

import pytest
from loopback import SERVER, Federation, until
from tiny import SITES

from provisioning.made_for import STAMP

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]
SITE = SITES[0]


def preflight(federation: Federation, name: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and the findings by what was checked; of several the last."""
    kit = str(federation.kit(name))
    done = federation.fedefm("provision", "preflight", kit, "--json", check=False)
    return done.returncode, {each["check"]: each for each in json.loads(done.stdout)["findings"]}


@pytest.mark.timeout(600)
def test_a_preflight_reaches_the_server_and_another_release_does_not_start(
    tmp_path: Path, tiny_sites: Path
) -> None:
    with Federation(tmp_path, tiny_sites, SITES[:2]) as federation:
        federation.provision()
        code, found = preflight(federation, SITE)
        assert (code, found["server"]["verdict"]) == (1, "problem")

        federation.start(SERVER)
        log = federation.folder / f"{SERVER}.log"
        until("the server listens", lambda: "Server started" in log.read_text(), 180, 1.0)
        code, found = preflight(federation, SITE)
        assert (code, found["server"]["verdict"]) == (0, "ok"), found
        code, found = preflight(federation, SERVER)
        assert (code, "this project's server" in found["server"]["said"]) == (0, True), found

        stamp = federation.kit(SITE) / "local" / STAMP
        stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "toolkit": "99.0.0"}))
        code, found = preflight(federation, SITE)
        assert (code, found["versions"]["verdict"]) == (1, "problem")
        federation.start(SITE)
        log = federation.folder / f"{SITE}.log"
        until("its script has ended", lambda: not federation.processes(SITE), 180, 1.0)
        said = log.read_text()
        assert said.count("this kit was made for fedefm 99.0.0") == 1  # and is not tried again
        assert "Traceback" not in said
