"""FLARE's admin console as people use it, and the same job by all other ways.

One federation of tiny sites serves all tests of this file; each job takes some 20 s.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from loopback import Federation, until
from tiny import SITES, tiny_run

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]

LEAD, OFFICER = "lead@hub.org", "officer@hub.org"
ANSWER_S = 120.0  # until the console answers, on a busy machine
COMPLETED = "FINISHED:COMPLETED"
PYTHON = """
from pathlib import Path
from nvflare.recipe import ProdEnv
from fedefm.config import read_run
from nvflare_jobs.jobs.pretrain import PretrainRecipe
from nvflare_jobs.parties.terms import terms_for

recipe = PretrainRecipe(terms_for(read_run(Path("tiny.yaml")), {sites!r}))
run = recipe.execute(ProdEnv({kit!r}, username={who!r}, login_timeout=60))
run.get_result()
print("job", run.get_job_id())
"""


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
        self._shell.expect(r"Done \[\d+ usecs\][^\n]*\r?\n(.*\n)?> ")
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
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


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
def test_a_privacy_officer_looks_and_cannot_submit(federation: Federation, job: Path) -> None:
    with Console(federation, OFFICER) as console:
        assert all(site in console.say("check_status server") for site in SITES)
        before = console.say("list_jobs")
        assert "Authorization Error" in console.say(f"submit_job {job}")
        assert names_of_jobs(console.say("list_jobs")) == names_of_jobs(before)


@pytest.mark.timeout(300)
def test_a_privacy_officer_cannot_stop_anything(federation: Federation) -> None:
    with Console(federation, OFFICER) as console:
        told = console.say("abort_job 11111111-1111-1111-1111-111111111111")
    assert "Authorization Error" in told


def names_of_jobs(told: str) -> set[str]:
    return set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", told))


@pytest.mark.timeout(600)
def test_the_same_job_by_flares_commands_leaves_the_same_model(
    federation: Federation, job: Path, by_console: Path
) -> None:
    number = federation.submit(job)
    assert federation.wait(number) == COMPLETED
    folder = federation.download(number)
    assert model_of(folder) == model_of(by_console)
    assert shape_of(folder) == shape_of(by_console)


@pytest.mark.timeout(600)
def test_the_same_run_from_python_leaves_the_same_model(
    federation: Federation, job: Path, by_console: Path
) -> None:
    text = PYTHON.format(sites=SITES, kit=str(federation.kit(LEAD)), who=LEAD)
    (federation.folder / "from_python.py").write_text(text)
    told = federation.python("from_python.py").stdout
    (number,) = re.findall(r"^job (\S+)$", told, re.M)
    assert federation.status(number) == COMPLETED
    folder = federation.download(number)
    assert model_of(folder) == model_of(by_console)
