"""The server's settings name its own folder, however its start scripts are called.

FLARE itself is not started: another ``python3`` stands in the path, and says what it was told.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

FAKE = '#!/bin/sh\necho "$FEDEFM_KIT" >> "$TOLD"\n'


@pytest.fixture
def server(provisioned: Path, tmp_path: Path) -> Path:
    return shutil.copytree(provisioned / "localhost", tmp_path / "installed" / "localhost")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    fake = tmp_path / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text(FAKE)
    fake.chmod(0o755)
    told = str(tmp_path / "told")
    return {"PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}", "TOLD": told}


def told(environment: dict[str, str]) -> list[str]:
    path = Path(environment["TOLD"])
    return path.read_text().splitlines() if path.exists() else []


def test_where_it_is_installed(server: Path, environment: dict[str, str]) -> None:
    script = server / "startup" / "sub_start.sh"
    subprocess.run(["bash", str(script), "--once"], env=environment, cwd="/", check=True)
    assert told(environment) == [str(server)]


def test_in_a_workspace_of_its_own(
    server: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    script, elsewhere = server / "startup" / "sub_start.sh", tmp_path / "elsewhere"
    moved = {**environment, "NVFL_WORKSPACE": str(elsewhere)}
    subprocess.run(["bash", str(script), "--once"], env=moved, check=True)
    assert told(environment) == [str(elsewhere)]


@pytest.mark.timeout(120)
def test_by_start_sh_and_after_the_server_died(server: Path, environment: dict[str, str]) -> None:
    script = server / "startup" / "start.sh"
    subprocess.run(["bash", str(script)], env=environment, stdout=subprocess.DEVNULL, check=True)
    try:
        deadline = time.monotonic() + 90  # the script looks every five seconds
        while len(told(environment)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        (server / "shutdown.fl").touch()  # with it the script ends
    assert told(environment)[:2] == [str(server)] * 2
