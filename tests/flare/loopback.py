"""A really provisioned federation on this machine: kits by `nvflare provision`, their own scripts.

Each has its own HOME, port and stores, and ends with its ``with`` block. Benchmarks use it, too.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import yaml

SERVER = "localhost"
PROJECT = "loopback"
PEOPLE = {"lead@hub.org": "lead", "officer@hub.org": "member", "admin@hub.org": "project_admin"}
START_S, COMMAND_S, POLL_S = 180.0, 180.0, 0.2
ENDED = ("FINISHED", "ABORTED", "FAILED", "ABANDONED")


class Federation:
    """One server, some sites and people.

    ``sites_folder`` has a folder with a manifest for each site, as `fedefm data split` makes it.
    """

    def __init__(
        self,
        folder: Path,
        sites_folder: Path,
        sites: Sequence[str],
        people: Mapping[str, str] = PEOPLE,
    ) -> None:
        self.folder, self.sites_folder = folder.resolve(), sites_folder.resolve()
        self.sites, self.people = tuple(sites), dict(people)
        self.port = free_port()
        self.home = self.folder / "home"
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._pids: set[int] = set()  # of all that ever ran in this federation's kits

    @property
    def environment(self) -> dict[str, str]:
        """Of every process: the interpreter that runs the tests, one thread each, an own HOME."""
        binaries = str(Path(sys.executable).parent)
        kept = {name: v for name, v in os.environ.items() if not name.startswith("FEDEFM_")}
        return {
            **kept,
            "HOME": str(self.home),
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }

    # Kits.

    def provision(self) -> None:
        """Project file, kits, and the sites' own files as their owners would write them."""
        self.home.mkdir(parents=True, exist_ok=True)
        project = self.folder / "project"
        flag = {"lead": "--lead", "member": "--officer", "project_admin": "--admin"}
        self.fedefm(
            *("provision", "init", "--name", PROJECT, "--server", SERVER),
            *("--port", str(self.port), "--out", str(project)),
            *(part for site in self.sites for part in ("--site", site)),
            *(part for name, role in self.people.items() for part in (flag[role], name)),
        )
        self.nvflare("provision", "-p", str(project / "project.yml"), "-w", str(self._kits))
        for site in self.sites:
            self.write_site_file(site)

    def write_site_file(
        self, site: str, policy: Mapping[str, Any] | None = None, ledger: bool = True
    ) -> Path:
        """The site's own file in its kit."""
        manifest = str(self.sites_folder / site / "manifest.csv")
        settings: dict[str, Any] = {
            "datasets": {"pretraining": {"manifest": manifest}},
            "policy": dict(policy or {}),
        }
        if ledger:
            (self.folder / "ledgers" / site).mkdir(parents=True, exist_ok=True)
            settings["ledger"] = str(self.ledger(site))
        path = self.kit(site) / "local" / "fedefm_site.yaml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path

    def ledger(self, site: str) -> Path:
        return self.folder / "ledgers" / site / "ledger.sqlite"

    def kit(self, name: str) -> Path:
        """The newest kit of a server, site or person."""
        made = (self._kits / PROJECT).glob("prod_*")
        return max(made, key=lambda folder: int(folder.name.removeprefix("prod_"))) / name

    @property
    def _kits(self) -> Path:
        return self.folder / "kits"

    # Processes.

    def __enter__(self) -> "Federation":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()

    def start(self, *names: str) -> None:
        """Run the start scripts of these kits; without names, of the server and of all sites."""
        for name in names or (SERVER, *self.sites):
            log = (self.folder / f"{name}.log").open("ab")
            self._started[name] = subprocess.Popen(
                ["bash", str(self.kit(name) / "startup" / "sub_start.sh")],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            log.close()

    def wait_ready(self, sites: Sequence[str] | None = None) -> None:
        """Until the server knows all ``sites``."""
        wanted = set(self.sites if sites is None else sites)
        until("all sites are registered", lambda: wanted <= self.registered(), START_S)

    def registered(self) -> set[str]:
        """The sites that the server knows now; none while it does not answer."""
        told = self.nvflare_json("system", "status", check=False)
        return {site for site in self.sites if json.dumps(site) in json.dumps(told)}

    def processes(self, name: str) -> list[psutil.Process]:
        """All processes of a kit: start script, parent, and those of its jobs."""
        kit = str(self.kit(name))
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if any(kit == part or part.startswith(f"{kit}/") for part in command):
                found.append(process)
        return found

    def job_process(self, name: str, job: str) -> psutil.Process | None:
        """The FLARE process of a job at a site or at the server."""
        for process in self.processes(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                if job in process.cmdline() and "nvflare" in " ".join(process.cmdline()):
                    return process
        return None

    def kill(self, name: str) -> None:
        """kill -9 of everything at one kit, start script first, as when the power fails."""
        family = self.processes(name)
        for process in [*family, *(c for p in family for c in _children(p))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        (self.kit(name) / "daemon_pid.fl").unlink(missing_ok=True)
        (self.kit(name) / "pid.fl").unlink(missing_ok=True)

    def shutdown(self) -> None:
        """`nvflare system shutdown all --force`, and whatever is left after that."""
        if not self._started:
            return
        with contextlib.suppress(subprocess.TimeoutExpired, AssertionError, StopIteration):
            self.be(next(name for name, role in self.people.items() if role == "project_admin"))
            self.nvflare("system", "shutdown", "all", "--force", check=False)
            deadline = time.monotonic() + 30
            while self._running() and time.monotonic() < deadline:
                time.sleep(POLL_S)
        for name in (SERVER, *self.sites):
            self.kill(name)
        self._started.clear()

    def _running(self) -> bool:
        return any(self.processes(name) for name in (SERVER, *self.sites))

    # People.

    def fedefm(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._run("fedefm", args, check)

    def nvflare(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._run("nvflare", args, check)

    def python(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, args, check)

    def nvflare_json(self, *args: str, check: bool = True) -> Any:
        """What a command of FLARE prints as JSON; None where it prints none."""
        said = self.nvflare("--format", "json", *args, check=check).stdout
        with contextlib.suppress(ValueError):
            return json.loads(said)
        return None

    def be(self, who: str) -> None:
        """Let FLARE's commands speak for ``who`` from now on."""
        name = who.split("@")[0]
        self.nvflare("config", "add", name, str(self.kit(who)), check=False)
        self.nvflare("config", "use", name)

    def export(self, run: Mapping[str, Any] | Path, *options: str) -> Path:
        """The FLARE job of a run file, or of its settings."""
        if not isinstance(run, Path):
            path = self.folder / f"{run['name']}.yaml"
            path.write_text(yaml.safe_dump(dict(run), sort_keys=False))
            run = path
        jobs = self.folder / "jobs"
        if (jobs / run.stem).exists():
            shutil.rmtree(jobs / run.stem)
        told = self.fedefm(
            "job",
            "export",
            str(run),
            str(jobs),
            "--sites",
            ",".join(self.sites),
            "--json",
            *options,
        )
        return Path(json.loads(told.stdout)["job"])

    def submit(self, job: Path) -> str:
        """FLARE's id of the job."""
        told = self.nvflare_json("job", "submit", "-j", str(job))
        return str(told["data"]["job_id"])

    def meta(self, job: str) -> dict[str, Any]:
        told = self.nvflare_json("job", "meta", job, check=False)
        return dict((told or {}).get("data") or {})

    def status(self, job: str) -> str:
        return str(self.meta(job).get("status", ""))

    def wait(self, job: str, timeout_s: float = 300.0) -> str:
        """The status with which the job ended."""
        until(f"job {job} has ended", lambda: self.status(job).startswith(ENDED), timeout_s, 2.0)
        return self.status(job)

    def run_folder(self, job: str) -> Path:
        """The run folder while the job runs, in the server's kit."""
        return self.kit(SERVER) / job / "fedefm_run"

    def download(self, job: str) -> Path:
        """The run folder that the job has left."""
        out = self.folder / "downloads"
        self.nvflare("job", "download", job, "-o", str(out))
        (found,) = out.glob(f"**/{job}/**/fedefm_run")
        return found

    def _run(
        self, program: str, args: Sequence[str], check: bool
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, *args],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        if check and done.returncode != 0:
            said = f"{done.stdout}\n{done.stderr}"
            raise AssertionError(
                f"{program} {' '.join(args)} ended with {done.returncode}:\n{said}"
            )
        return done


def until(
    what: str, so: Callable[[], bool], timeout_s: float = START_S, poll_s: float = POLL_S
) -> None:
    """Wait until it is so. Raises AssertionError after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(poll_s)


def free_port() -> int:
    """One that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _children(process: psutil.Process) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        yield from process.children(recursive=True)
