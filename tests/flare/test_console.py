"""FLARE's admin console as people use it, and the same job by all other ways.

One federation of tiny sites serves all tests of this file; each job takes some 20 s.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pexpect
import psutil
import pytest
from loopback import Federation, until
from safetensors.numpy import load_file
from tiny import SITES, tiny_run

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]

LEAD, OFFICER = "lead@hub.org", "officer@hub.org"
ANSWER_S = 120.0  # until the console answers, on a busy machine
OURS = {"job.json", "tensorboard/events"}  # what our download puts into the run folder
COMPLETED = "FINISHED:COMPLETED"
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "data-scientist.md"


class Console:
    """The console of one person's kit, logged in."""

    def __init__(self, federation: Federation, who: str) -> None:
        self._kit = federation.kit(who)
        script = str(self._kit / "startup" / "fl_admin.sh")
        self._shell = pexpect.spawn(
            "bash",
            [script],
            env=federation.environment,
            cwd=str(federation.folder),
            encoding="utf-8",
            echo=False,
            timeout=ANSWER_S,
            dimensions=(50, 250),  # tables of jobs are wide
        )
        self._shell.expect_exact("User Name: ")
        self._shell.sendline(who)
        self._shell.expect_exact("\n> ")
        self.greeting = str(self._shell.before)

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.sendline("bye")
        self._shell.expect(pexpect.EOF)
        self._shell.close()

    def say(self, command: str) -> str:
        """The answer to a command."""
        self._shell.sendline(command)
        done = r"Done \[\d+ usecs\][^\n]*\r?\n(.*\n)?> "
        if self._shell.expect([done, r"\(y/N\): "]) == 1:
            self._shell.sendline("y")
            self._shell.expect(done)
        return str(self._shell.before)

    def submit(self, job: Path) -> str:
        (found,) = re.findall(r"Submitted job: (\S+)", self.say(f"submit_job {job}"))
        return found

    def status(self, job: str) -> str:
        """As it stands in the console's table of jobs."""
        told = re.search(r"FINISHED:\w+|RUNNING|SUBMITTED|DISPATCHED", self.say(f"list_jobs {job}"))
        return told[0] if told else ""

    def download(self, job: str) -> Path:
        """The run folder, from where the console puts what it brings."""
        self.say(f"download_job {job}")
        (folder,) = self._kit.glob(f"transfer/{job}/**/fedefm_run")
        return folder


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, tiny_sites: Path) -> Iterator[Federation]:
    with Federation(tmp_path_factory.mktemp("console"), tiny_sites, SITES) as started:
        started.provision()
        started.start()
        started.be(LEAD)
        started.wait_ready()
        yield started


@pytest.fixture(scope="module")
def job(federation: Federation) -> Path:
    """The exported job, which all ways of submitting have in common."""
    return federation.export(tiny_run())


@pytest.fixture(scope="module")
def by_console(federation: Federation, job: Path) -> Path:
    """The run folder of the job that a lead submitted, watched and downloaded in the console."""
    with Console(federation, LEAD) as console:
        number = console.submit(job)
        until("it has ended", lambda: console.status(number).startswith("FINISHED"), 300, 2)
        assert console.status(number) == COMPLETED
        return console.download(number)


def model_of(folder: Path) -> str:
    """A digest of all weights; the card in the same file says when it was made."""
    weights = load_file(folder / "model.safetensors")
    return hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).hexdigest()


def shape_of(folder: Path) -> tuple[set[str], set[str]]:
    """The files of a run folder, and the names of what its result tells."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    result = json.loads((folder / "result.json").read_text())
    return {re.sub(r"events\.out\.tfevents.*", "events", name) for name in files}, set(result)


@pytest.mark.timeout(900)
def test_a_lead_submits_watches_and_downloads_in_the_console(by_console: Path) -> None:
    result = json.loads((by_console / "result.json").read_text())
    assert result["participation"] == {site: [0, 1, 2] for site in SITES}
    assert result["protection"]["end_to_end_encryption"] is True
    assert (by_console / "report.html").stat().st_size > 0


@pytest.mark.timeout(300)
def test_the_console_names_all_sites(federation: Federation) -> None:
    with Console(federation, LEAD) as console:
        told = console.say("check_status server")
    assert all(site in told for site in SITES)


@pytest.mark.timeout(300)
def test_a_privacy_officer_looks_and_can_neither_submit_nor_stop(
    federation: Federation, job: Path, by_console: Path
) -> None:
    (leads,) = names_of_jobs(str(by_console.relative_to(federation.folder)))
    with Console(federation, OFFICER) as console:
        assert all(site in console.say("check_status server") for site in SITES)
        before = names_of_jobs(console.say("list_jobs"))
        assert "Authorization Error" in console.say(f"submit_job {job}")
        assert "Authorization Error" in console.say(f"abort_job {leads}")
        assert names_of_jobs(console.say("list_jobs")) == before


@pytest.mark.timeout(300)
def test_no_process_of_a_site_listens_where_another_machine_could_reach_it(
    federation: Federation,
) -> None:
    for site in SITES:
        family = [c for p in federation.processes(site) for c in (p, *p.children(recursive=True))]
        places = {place for process in family for place in listening(process)}
        assert places <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def listening(process: psutil.Process) -> set[str]:
    """Where a process listens; one that has ended meanwhile, nowhere."""
    with contextlib.suppress(psutil.NoSuchProcess):
        connections = process.net_connections("inet")
        return {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    return set()


def names_of_jobs(told: str) -> set[str]:
    return set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", told))


@pytest.mark.timeout(600)
def test_the_same_job_by_flares_commands_leaves_the_same_model(
    federation: Federation, job: Path, by_console: Path
) -> None:
    number = federation.submit(job)
    federation.nvflare("job", "wait", number, "--timeout", "170")
    assert federation.status(number) == COMPLETED
    folder = federation.download(number)
    assert model_of(folder) == model_of(by_console)
    assert shape_of(folder) == shape_of(by_console)


@pytest.mark.timeout(600)
def test_the_same_run_by_our_commands_leaves_the_same_model(
    federation: Federation, job: Path, by_console: Path
) -> None:
    kit = ("--kit", str(federation.kit(LEAD)))
    told = federation.fedefm("job", "submit", "tiny.yaml", "--sites", ",".join(SITES), *kit)
    number = told.stdout.strip()
    told = federation.fedefm("job", "watch", number, "--html", "status.html", *kit)
    assert "tiny: 4 sites, 3 rounds" in told.stdout
    assert all(site in (federation.folder / "status.html").read_text() for site in SITES)
    federation.fedefm("job", "download", number, "--out", "taken", *kit)
    folder = federation.folder / "taken" / "tiny"
    assert model_of(folder) == model_of(by_console)
    files, told_in_result = shape_of(folder)
    expected, expected_in_result = shape_of(by_console)
    assert files == expected | OURS
    assert told_in_result == expected_in_result


@pytest.mark.timeout(600)
def test_one_command_runs_at_real_sites_as_it_does_at_home(
    federation: Federation, job: Path, by_console: Path
) -> None:
    where = ("--where", "prod", "--sites", ",".join(SITES), "--kit", str(federation.kit(LEAD)))
    federation.fedefm("run", "tiny.yaml", *where, "--out", "whole")
    folder = federation.folder / "whole"
    assert model_of(folder) == model_of(by_console)


@pytest.mark.timeout(600)
def test_the_guides_python_leaves_the_same_model(
    federation: Federation, job: Path, by_console: Path
) -> None:
    (federation.folder / "guide.py").write_text(guides_python(federation))
    told = federation.python("guide.py").stdout
    (number,) = re.findall(r"^job ([0-9a-f-]{36})$", told, re.M)
    (taken,) = re.findall(r"^result in (.+)$", told, re.M)
    assert federation.status(number) == COMPLETED
    (folder,) = Path(taken).glob("**/fedefm_run")
    assert model_of(folder) == model_of(by_console)


def guides_python(federation: Federation) -> str:
    """The block on the page, with the names of this federation."""
    (text,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
    text, sites = re.subn(r"^sites = .*$", f"sites = {SITES!r}", text, flags=re.M)
    for name, ours in (
        ("catheters.yaml", "tiny.yaml"),
        ('ProdEnv("kit"', f"ProdEnv({str(federation.kit(LEAD))!r}"),
        ("lead@hub.example.org", LEAD),
    ):
        assert name in text
        text = text.replace(name, ours)
    assert sites == 1
    return str(text)
