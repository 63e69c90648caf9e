"""FLARE's simulator as a process of its own, which ends when the one that started it ends.

Run as a module it is that process: FLARE's simulator, and a thread that watches over the parent.
"""

import json
import os
import runpy
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psutil

from fedefm.train.exchange import SERVER
from nvflare_jobs.parties.places import IDENTITIES_DIR, RUN_FOLDER, SIMULATION, SITES_DIR, STATE_DIR
from provisioning.kit_files import SERVER_CLASSES

SIMULATOR = "nvflare.private.fed.app.simulator.simulator"
JOB_FOLDER = "simulate_job"  # FLARE's name of the only job of a simulation
WORKSPACE, LOG = "workspace", "flare.log"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # one a site
PARENT_POLL_S = 1.0


class SimulatorProcess:
    """A job in FLARE's simulator, from ``with`` to its end; all its processes end with it.

    Args:
        folder: takes FLARE's workspace and log. FLARE splits commands with paths in them as a shell
            does, so it meets a folder whose path needs quoting under another, temporary name.
        signed: give each party a certificate, of a root that nobody keeps. They are gone when the
            processes are.
    """

    def __init__(
        self,
        job: Path,
        folder: Path,
        sites: Sequence[str],
        sites_folder: Path,
        states: Path,
        signed: bool = False,
    ) -> None:
        self.log = folder / LOG
        self._job, self._sites = job.resolve(), sites
        self._folder = folder.resolve()
        self._plain = Path(tempfile.mkdtemp(prefix="fedefm-"))  # which nobody else may read
        self._signed = signed
        self._environment = {
            **os.environ,
            **dict.fromkeys(THREADS, "1"),
            SITES_DIR: str(sites_folder.resolve()),
            STATE_DIR: str(states.resolve()),
            SIMULATION: secrets.token_hex(8),
        }

    @property
    def server_folder(self) -> Path:
        """The run folder that the coordinator writes."""
        return server_folder(self._folder)

    def __enter__(self) -> "SimulatorProcess":
        self._write_site_resources()
        if self._signed:
            self._environment[IDENTITIES_DIR] = str(self._issue_identities())
        names = ",".join(self._sites)
        (self._plain / "flare").symlink_to(self._folder)
        workspace = self._plain / "flare" / WORKSPACE
        command = [sys.executable, "-m", __name__, str(self._job), "-w", str(workspace)]
        command += ["-c", names, "-t", str(len(self._sites))]  # fewer threads: sites take turns
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end_with_children(self._process.pid)
        self._process.wait()
        shutil.rmtree(self._plain)  # keys, and the link, not what it leads to

    def _write_site_resources(self) -> None:
        """Classes are allowed one by one, as in kits; server and sites share one list here."""
        local = self._folder / WORKSPACE / "local"
        local.mkdir(parents=True)
        resources = {"class_allow_list": list(SERVER_CLASSES)}
        (local / "resources.json").write_text(json.dumps(resources), encoding="utf-8")

    def _issue_identities(self) -> Path:
        from privacy.identity import ThrowAwayRoot  # the privacy packages load slowly

        root, folder = ThrowAwayRoot(), self._plain / "identities"
        for party in (*self._sites, SERVER):
            root.issue(party)
        root.save(folder)
        return folder

    def running(self) -> bool:
        """Whether FLARE is still at it."""
        return self._process.poll() is None


def server_folder(folder: Path) -> Path:
    """Where the coordinator writes its run folder, if FLARE works in ``folder``."""
    return folder / WORKSPACE / "server" / JOB_FOLDER / RUN_FOLDER


def end_with_children(pid: int) -> None:
    """Kill a process and all that it started; those that are gone already are no matter."""
    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    end_with_children(os.getpid())


if __name__ == "__main__":
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    runpy.run_module(SIMULATOR, run_name="__main__", alter_sys=True)
