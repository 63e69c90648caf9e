"""``fedefm job export``, as far as it needs no FLARE process."""

import subprocess
import sys
from pathlib import Path

import pytest

from fedefm.config import dump
from nvflare_jobs.cli import main


@pytest.fixture
def fedefm(monkeypatch, capsys):
    """Run the command line; exit code and standard error."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fedefm", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


@pytest.fixture
def run_file(tiny_run, tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(dump(tiny_run))
    return path


def test_a_job_needs_to_know_its_sites(fedefm, run_file, tmp_path) -> None:
    code, error = fedefm("job", "export", str(run_file), str(tmp_path / "jobs"))
    assert code == 2
    assert "--sites" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "jobs").exists()


def test_a_graph_names_its_sites(fedefm, make_run, tmp_path) -> None:
    (tmp_path / "links.txt").write_text("hosp-a hosp-b\nhosp-b hosp-c\n")
    (tmp_path / "run.yaml").write_text(dump(make_run(topology=str(tmp_path / "links.txt"))))
    code, _ = fedefm("job", "export", str(tmp_path / "run.yaml"), str(tmp_path / "jobs"))
    assert code == 0
    apps = {path.name for path in (tmp_path / "jobs" / "tiny").glob("app_*")}
    assert apps == {"app_server", "app_hosp-a", "app_hosp-b", "app_hosp-c"}


def test_a_site_of_the_graph_that_is_not_in_the_job_is_named(fedefm, make_run, tmp_path) -> None:
    (tmp_path / "links.txt").write_text("hosp-a hosp-b\nhosp-b hosp-c\n")
    (tmp_path / "run.yaml").write_text(dump(make_run(topology=str(tmp_path / "links.txt"))))
    files = (str(tmp_path / "run.yaml"), str(tmp_path / "jobs"))
    code, error = fedefm("job", "export", *files, "--sites", "hosp-a,hosp-b")
    assert code == 2
    assert "'hosp-c' is not a site of this job" in error
    assert not (tmp_path / "jobs").exists()


def test_sites_may_be_named_as_people_write_them(fedefm, run_file, tmp_path) -> None:
    written = "St. Mary's Hospital A, Dr. Weber Clinic,hosp-B"
    code, told = fedefm("job", "export", str(run_file), str(tmp_path / "jobs"), "--sites", written)
    assert code == 0
    apps = {path.name for path in (tmp_path / "jobs" / "tiny").glob("app_*")}
    assert apps == {"app_server", "app_St-Marys-Hospital-A", "app_Dr-Weber-Clinic", "app_hosp-B"}
    assert "St. Mary's Hospital A is St-Marys-Hospital-A in FLARE" in told
    assert "Dr. Weber Clinic is Dr-Weber-Clinic in FLARE" in told
    assert "hosp-B" not in told


@pytest.mark.parametrize("path", ["../../hosp-a", "/hosp-a", "..\\hosp-a"])
def test_a_path_in_the_place_of_a_site_is_refused(fedefm, run_file, tmp_path, path) -> None:
    given = (str(run_file), str(tmp_path / "jobs"), "--sites", f"{path},hosp-b")
    code, error = fedefm("job", "export", *given)
    assert (code, error.count("\n")) == (2, 1)
    assert "reads like a path" in error
    assert "'hosp-a'" in error
    assert not (tmp_path / "jobs").exists()


def test_what_can_be_no_site_is_refused_with_a_better_name(fedefm, run_file, tmp_path) -> None:
    given = (str(run_file), str(tmp_path / "jobs"), "--sites", "Clinic=hosp.a,hosp-b")
    code, error = fedefm("job", "export", *given)
    assert (code, "call it 'Clinic=hosp-a'" in error) == (2, True)


@pytest.mark.parametrize(
    ("honest", "strange"),
    [("backbone: resnet_micro", "backbone: /own.py"), ("dataset: pretraining", "dataset: /etc")],
)
def test_what_no_site_could_run_is_refused_before_anything_is_written(
    fedefm, run_file, tmp_path, honest, strange
) -> None:
    text = run_file.read_text()
    assert honest in text
    run_file.write_text(text.replace(honest, strange))
    given = (str(run_file), str(tmp_path / "jobs"), "--sites", "hosp-a,hosp-b")
    code, error = fedefm("job", "export", *given)
    assert (code, error.count("\n")) == (2, 1)
    assert repr(strange.partition(": ")[2]) in error
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize("file", ["jobs", "jobs/tiny"])
def test_a_file_where_the_job_should_go_is_named_and_stays(
    fedefm, run_file, tmp_path, file
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")
    given = (str(run_file), str(tmp_path / "jobs"), "--sites", "hosp-a,hosp-b")
    code, error = fedefm("job", "export", *given)
    assert (code, error.count("\n")) == (2, 1)
    assert "is a file, and a job is a folder; name another folder" in error
    assert "Errno" not in error
    assert (tmp_path / file).read_text() == "mine"


def test_submit_asks_for_a_kit_before_all_else(fedefm, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("FEDEFM_ADMIN_KIT", raising=False)
    code, error = fedefm("job", "submit", str(tmp_path / "no_such_run.yaml"))
    assert code == 2
    assert "no kit is named" in error


def test_the_command_line_loads_without_flare() -> None:
    check = "import sys, nvflare_jobs.cli; sys.exit('nvflare' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
