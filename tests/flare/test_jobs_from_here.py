"""Jobs at provisioned sites from a person's own machine: handed in, watched, brought home."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from loopback import Federation, until
from tiny import SITES, tiny_run

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]
NAMES = ",".join(SITES)
WHOLE = {
    "run.yaml", "events.jsonl", "metrics.csv", "model.safetensors", "model_card.md", "result.json",
    "report.html", "tensorboard", "job.json",
}  # fmt: skip
WITH_PYTHON = """
import sys
from pathlib import Path
from nvflare.recipe import ProdEnv
from fedefm.config import read_run
from nvflare_jobs.jobs.pretrain import PretrainRecipe
from nvflare_jobs.parties.terms import terms_for
file, kit, sites = sys.argv[1:]
who = ProdEnv(startup_kit_location=kit, username="lead@hub.org", login_timeout=60)
print(PretrainRecipe(terms_for(read_run(Path(file)), sites.split(","))).execute(who).get_job_id())
"""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, tiny_sites: Path) -> Iterator[Federation]:
    with Federation(tmp_path_factory.mktemp("jobs"), tiny_sites, SITES) as running:
        running.provision()
        running.start()
        running.be("lead@hub.org")
        running.wait_ready()
        yield running


def write(federation: Federation, name: str, **more: object) -> str:
    path = federation.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tiny_run(name, **more), sort_keys=False))
    return str(path)


def lead(federation: Federation) -> tuple[str, str]:
    return "--kit", str(federation.kit("lead@hub.org"))


@pytest.mark.timeout(900)
def test_a_run_at_sites_leaves_the_same_folder_as_anywhere_and_goes_on_after_an_abort(
    federation: Federation,
) -> None:
    file = write(federation, "steady", rounds=10, local_steps=250)
    out = federation.folder / "runs" / "steady"
    at_sites = ("run", file, "--where", "prod", "--sites", NAMES, "--out", str(out))
    log = (federation.folder / "run.log").open("wb")
    first = subprocess.Popen(
        ["fedefm", *at_sites, *lead(federation)],
        env=federation.environment, cwd=federation.folder, stdout=log, stderr=log,
    )  # fmt: skip
    events = out / "events.jsonl"
    until(
        "the second round is told here",
        lambda: events.exists() and '"round": 1' in events.read_text(),
        300,
    )
    job = json.loads((out / "job.json").read_text())["job"]
    federation.fedefm("job", "abort", job, *lead(federation))
    assert first.wait(180) == 2
    log.close()
    told = (federation.folder / "run.log").read_text()
    assert "was aborted" in told
    assert "Traceback" not in told
    done = subprocess.run(
        ["fedefm", *at_sites, *lead(federation), "--resume", "--json"],
        env=federation.environment, cwd=federation.folder, capture_output=True, text=True,
        check=True, timeout=600,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["participation"] == {site: list(range(10)) for site in SITES}
    assert result["protection"]["end_to_end_encryption"] is True
    assert {path.name for path in out.iterdir()} >= WHOLE
    rounds = [json.loads(line) for line in events.read_text().splitlines()]
    assert len({e["round"] for e in rounds if e["event"] == "round_finished"}) == 10


@pytest.mark.timeout(900)
def test_whichever_way_a_job_is_handed_in_it_comes_home_whole(federation: Federation) -> None:
    file = write(federation, "ways")
    python = subprocess.run(
        [sys.executable, "-c", WITH_PYTHON, file, lead(federation)[1], NAMES],
        env=federation.environment, cwd=federation.folder, capture_output=True, text=True,
        check=True,
    ).stdout.split()[-1]  # fmt: skip
    with_flare = federation.submit(federation.export(Path(file)))
    ours = federation.fedefm("job", "submit", file, "--sites", NAMES, *lead(federation))
    ours_id = ours.stdout.strip()
    assert f"fedefm job watch {ours_id}" in ours.stderr
    page = federation.folder / "status.html"
    for job in (python, with_flare, ours_id):
        federation.fedefm("job", "watch", job, "--html", str(page), *lead(federation))
        out = federation.folder / job
        federation.fedefm("job", "download", job, "--out", str(out), *lead(federation))
        assert {path.name for path in (out / "ways").iterdir()} >= WHOLE
    assert ">finished<" in page.read_text()
    assert json.loads(federation.fedefm("job", "status", "--json", *lead(federation)).stdout)
    downloaded = federation.download(ours_id)  # with FLARE's own command
    assert (downloaded / "report.html").exists()
    assert _tags(downloaded.parent / "tb_events") == _tags(out / "ways" / "tensorboard")


@pytest.mark.timeout(600)
def test_every_refusal_is_a_sentence_and_an_error(federation: Federation) -> None:
    file = write(federation, "refused")
    officer = ("--kit", str(federation.kit("officer@hub.org")))
    denied = federation.fedefm("job", "submit", file, "--sites", NAMES, *officer, check=False)
    assert denied.returncode == 2
    assert "officer@hub.org may not be submitting a job" in denied.stderr
    few = federation.fedefm(
        "job", "submit", file, "--sites", "hosp-a,x,y,z", *lead(federation), check=False
    )
    assert few.returncode == 2
    assert "1 of the job's 4 sites are connected" in few.stderr
    settings = {**tiny_run("strange"), "dataset": "angiography"}
    path = federation.folder / "strange.yaml"
    path.write_text(yaml.safe_dump(settings))
    strange = federation.fedefm(
        "job", "submit", str(path), "--sites", NAMES, *lead(federation), check=False
    )
    job = strange.stdout.strip()
    watched = federation.fedefm("job", "watch", job, *lead(federation), check=False)
    assert watched.returncode == 2
    assert "angiography" in watched.stderr
    again = federation.fedefm(
        "job", "download", job, "--out", "none", *lead(federation), check=False
    )
    assert again.returncode == 2
    assert "angiography" in again.stderr


def _tags(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (place,) = {path.parent for path in folder.glob("**/*tfevents*")}
    found = EventAccumulator(str(place))
    found.Reload()
    tags = found.Tags()["scalars"]
    assert tags
    return {tag: [(e.step, round(e.value, 6)) for e in found.Scalars(tag)] for tag in tags}
