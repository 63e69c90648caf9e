"""examples/loopback/federation.sh leaves nothing running, however it ends.

In place of FLARE's kits and of our commands stand programs of a few lines, one of which fails or
never returns at the second hospital.
"""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "loopback" / "federation.sh"
FEDEFM = """#!/usr/bin/env bash
case "$1 $2" in
  "provision init") mkdir -p catheters ;;
  "data check") [[ $PWD == */Dr-Weber-Clinic ]] && {then} ;;
esac
exit 0
"""
NVFLARE = """#!/usr/bin/env bash
for name in localhost St-Marys-Hospital Dr-Weber-Clinic North-General-Hosp Univ-Hospital-East \\
  lead@hub.example.org officer@hub.example.org admin@hub.example.org; do
  kit=workspace/catheters/prod_00/$name
  mkdir -p "$kit/startup" "$kit/local"
  cp "$STARTS" "$kit/startup/start.sh"
done
"""
START = """#!/usr/bin/env bash
DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python3 -c '
import os, socket, time
listener = socket.socket()
try:
    listener.bind(("127.0.0.1", int(os.environ["PORT"])))
    listener.listen()
except OSError:
    pass  # a site; the server has it
time.sleep(600)
' -m "$DIR/.." &
"""


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts the script in ``tmp_path / "federation"``; ``then`` is what the check of data does."""
    scripts: list[subprocess.Popen[bytes]] = []

    def start(then: str) -> subprocess.Popen[bytes]:
        programs = {"fedefm": FEDEFM.replace("{then}", then), "nvflare": NVFLARE, "start": START}
        (tmp_path / "bin").mkdir()
        for name, text in programs.items():
            path = tmp_path / "bin" / name
            path.write_text(text)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        extra = {"PATH": path, "PORT": str(port), "STARTS": str(tmp_path / "bin" / "start")}
        script = subprocess.Popen(
            ["bash", str(SCRIPT), str(tmp_path / "federation")],
            env={**os.environ, **extra},
            stdout=(tmp_path / "told").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        scripts.append(script)
        return script

    yield start
    for script in scripts:  # and what one that failed its test has left
        with suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGKILL)
        script.wait()


def running(folder: Path) -> list[str]:
    """Command lines that name a kit in ``folder``."""
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    return [line for line in lines if f"{folder}/" in line and "/kit" in line]


def commands_of(script: subprocess.Popen[bytes]) -> list[list[str]]:
    return [child.cmdline() for child in psutil.Process(script.pid).children(recursive=True)]


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_step_that_fails_ends_all(begin, tmp_path: Path) -> None:
    script = begin("exit 3")
    assert script.wait(timeout=120) == 3
    told = (tmp_path / "told").read_text()
    assert "at Dr-Weber-Clinic" in told
    assert "at North-General-Hosp" not in told
    assert "Something is still running; stopping it" in told  # so there was something
    assert running(tmp_path / "federation") == []


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_the_script_stops_all(begin, tmp_path: Path, how: signal.Signals) -> None:
    script = begin("sleep 600")
    until(lambda: "at Dr-Weber-Clinic" in (tmp_path / "told").read_text())
    until(lambda: len(running(tmp_path / "federation")) >= 2)  # server and first hospital
    # A signal between a command's fork and its start is lost in bash, here as anywhere.
    until(lambda: ["sleep", "600"] in commands_of(script))
    os.killpg(script.pid, how)  # as a terminal does on Ctrl-C
    assert script.wait(timeout=120) == 128 + how
    assert running(tmp_path / "federation") == []


def test_a_folder_of_something_else_is_left_alone(begin, tmp_path: Path) -> None:
    (tmp_path / "federation").mkdir()
    (tmp_path / "federation" / "thesis.txt").write_text("years of work")
    assert begin("exit 0").wait(timeout=60) == 2
    assert (tmp_path / "federation" / "thesis.txt").read_text() == "years of work"
    assert "not the folder of an earlier federation" in (tmp_path / "told").read_text()
