"""Jobs that want what no job may: refused before an image is read, each with its sentence.

Each is a job as `fedefm job export` writes it, changed by hand as somebody would who wants more.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loopback import SERVER, Federation
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session
from tiny import tiny_run

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]

SITES = ("hosp-a", "hosp-B")
LEAD, MEMBER = "lead@hub.org", "officer@hub.org"
POLICY = {"epsilon_cap": 8.0, "delta": 1e-2}
DP = {"epsilon": 3.0, "delta": 1e-2, "patients_per_step": 6}
LONG_AGO = time.time() - 7 * 86400  # where a file system notes reading only once a day
END_S = 240.0

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Hostile:
    """One job: how it differs from an honest one, who refuses it, and in which words."""

    name: str
    change: Change
    where: str
    told: str
    who: str = LEAD


def _each(name: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    def all_of(job: Path) -> None:
        for path in job.glob(f"app_*/config/{name}"):
            _rewrite(path, change)

    return all_of


def _rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    known = json.loads(path.read_text())
    change(known)
    path.write_text(json.dumps(known))


def meta(**entries: Any) -> Change:
    """Other entries in ``meta.json``."""
    return lambda job: _rewrite(job / "meta.json", lambda known: known.update(entries))


def site_config(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Something else in the configuration of each site."""
    return _each("config_fed_client.json", change)


def server_config(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Something else in the configuration of the server."""
    return _each("config_fed_server.json", change)


def terms(**changes: Any) -> Change:
    """Other settings at sites and server; ``a__b`` is ``b`` in section ``a`` of the run."""

    def change(config: dict[str, Any]) -> None:
        (entry,) = config.get("workflows") or [config["executors"][0]["executor"]]
        known = json.loads(entry["args"]["job_terms"])
        for name, value in changes.items():
            section, _, key = name.partition("__")
            place = (
                known if not key else known["run"] if section == "run" else known["run"][section]
            )
            place[key or section] = value
        entry["args"]["job_terms"] = json.dumps(known)

    return _each("*.json", change)


def files(name: str, text: str) -> Change:
    """A file more in the app of each site."""

    def write(job: Path) -> None:
        for app in job.glob("app_*"):
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_text(text)

    return write


def executor(**entries: Any) -> Change:
    """Another executor at the sites."""
    return site_config(lambda config: config["executors"][0]["executor"].update(entries))


FILTER = {"path": "nvflare.app_common.filters.exclude_vars.ExcludeVars", "args": {}}
OWN_FILTER = [{"tasks": ["*"], "filters": [FILTER]}]
NO_JOB = "this is no job of this project"
ARGS = {"job_terms": "{$HOME}"}
AT_SITE, AT_SERVER, AT_SUBMISSION = SITES[0], "server", "submission"

JOBS = (
    Hostile("code", files("custom/own.py", "print(1)"), AT_SUBMISSION, "it brings code"),
    Hostile(
        "docker-image",
        meta(launcher_spec={site: {"docker": {"image": "own"}} for site in SITES}),
        AT_SUBMISSION,
        "is the site's own matter",
    ),
    Hostile(
        "foreign-class",
        executor(path="nvflare.app_common.np.np_trainer.NPTrainer"),
        AT_SITE,
        "it wants to run 'nvflare.app_common.np.np_trainer.NPTrainer' at the sites",
    ),
    Hostile(
        "class-not-for-jobs",
        executor(path="nvflare_jobs.components.gate_filter.GateFilter", args={}),
        AT_SITE,
        "it wants to run 'nvflare_jobs.components.gate_filter.GateFilter' at the sites",
    ),
    Hostile(
        "foreign-class-at-server",
        server_config(
            lambda config: config["workflows"][0].update(
                path="nvflare.app_common.workflows.fedavg.FedAvg"
            )
        ),
        AT_SERVER,
        "it wants to run 'nvflare.app_common.workflows.fedavg.FedAvg' at the server",
    ),
    Hostile(
        "path-as-dataset",
        terms(run__dataset="/etc/passwd"),
        AT_SERVER,
        "dataset: '/etc/passwd' is no name of a dataset",
    ),
    Hostile(
        "path-as-backbone",
        terms(model__backbone="/tmp/own.py"),
        AT_SERVER,
        "model.backbone: '/tmp/own.py' is unknown",
    ),
    Hostile("path-as-start", terms(model__start="../weights"), AT_SERVER, "model.start"),
    Hostile("path-as-topology", terms(federation__topology="../own.gml"), AT_SERVER, "is a path"),
    Hostile("path-as-name", terms(run__name="../../local"), AT_SERVER, "run.name = '../../local'"),
    Hostile(
        "path-as-site", terms(sites=[*SITES, "../x"]), AT_SERVER, "'../x' is no name of a site"
    ),
    Hostile(
        "epsilon-above-cap",
        terms(privacy__dp={**DP, "epsilon": 9.0}),
        AT_SITE,
        "privacy.dp.epsilon 9 is above its cap for all runs",
    ),
    Hostile(
        "little-noise",
        terms(privacy__dp={"noise_multiplier": 0.3, "delta": 1e-2, "patients_per_step": 6}),
        AT_SITE,
        "exceed what the site's epsilon cap leaves",
    ),
    Hostile("no-privacy", terms(privacy__dp=None), AT_SITE, "caps epsilon, which"),
    Hostile("claim-below-spend", meta(epsilon=0.01), AT_SUBMISSION, "claims epsilon"),
    Hostile("scope-without-gate", meta(scope="loose"), AT_SITE, "in the scope of the job"),
    Hostile(
        "by-a-member",
        lambda job: None,
        AT_SUBMISSION,
        "is not authorized for 'submit_job'",
        who=MEMBER,
    ),
    Hostile("older-toolkit", terms(toolkit="0.0.1"), AT_SERVER, "made with fedefm '0.0.1'"),
    Hostile(
        "own-filters",
        site_config(lambda config: config.update(task_result_filters=OWN_FILTER)),
        AT_SITE,
        "it brings task_result_filters of its own",
    ),
    Hostile(
        "own-components",
        site_config(lambda config: config.update(components=[{"id": "x", **FILTER}])),
        AT_SITE,
        "it brings components of its own",
    ),
    Hostile(
        "own-workflow",
        server_config(lambda config: config["workflows"].append({"id": "x", **FILTER})),
        AT_SERVER,
        "it has 2 workflows",
    ),
    Hostile("environment", executor(args=ARGS), AT_SITE, "terms are not JSON"),
    Hostile(
        "own-variable",
        site_config(lambda config: config.update(home="{$HOME}")),
        AT_SITE,
        "it brings home of its own",
    ),
    Hostile(
        "two-executors",
        site_config(lambda config: config.update(executors=config["executors"] * 2)),
        AT_SITE,
        "it has 2 executors",
    ),
    Hostile(
        "second-form", files("config/x.conf", "{}"), AT_SERVER, "it brings config/x.conf beside"
    ),
    Hostile(
        "gigantic",
        terms(model__classes=["x" * 2_000_000]),
        AT_SERVER,
        "its settings are longer than",
    ),
    Hostile("endless", terms(federation__rounds=10**12), AT_SERVER, "federation.rounds"),
)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, tiny_sites: Path) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("hostile")
    sites = folder / "sites"
    for site in SITES:
        shutil.copytree(tiny_sites / site, sites / site)
    with Federation(folder, sites, SITES) as made:
        made.provision()
        for site in SITES:
            made.write_site_file(site, policy=POLICY)
        made.start()
        made.be(LEAD)
        made.wait_ready()
        yield made


@pytest.mark.timeout(900)
def test_each_is_refused_in_words_before_an_image_is_read(federation: Federation) -> None:
    honest = federation.export(_private("honest"))
    _forget_reading(federation)
    rows, wrong = [], []
    for hostile in JOBS:
        job = honest.parent / hostile.name
        shutil.copytree(honest, job)
        _rewrite(job / "meta.json", lambda known, name=hostile.name: known.update(name=name))
        hostile.change(job)
        where, said, id_ = _handed_in(federation, job, hostile)
        rows.append(f"{hostile.name:24}{where:12}{said}")
        if where != hostile.where or hostile.told not in said:
            wrong.append(f"{rows[-1]}\n    wanted at {hostile.where}: {hostile.told}")
        if id_ and any((federation.kit(site) / id_).exists() for site in SITES):
            wrong.append(f"{hostile.name} left something at a site")
    print("\n".join(["", *rows]))
    assert not wrong, "\n".join(wrong)
    assert not _read(federation)
    assert not any(federation.ledger(site).exists() for site in SITES)
    _an_honest_job_runs_and_reads_images(federation, honest)


@pytest.mark.timeout(900)
def test_a_peer_with_another_certificate_than_the_pinned_one_is_named(
    federation: Federation,
) -> None:
    pins = {name: _fingerprint(federation, name) for name in (SERVER, *SITES)}
    pins["server"] = pins.pop(SERVER)
    for site in SITES:
        _pin(federation, site, pins)
    job = federation.submit(federation.export(_private("pinned")))
    assert federation.wait(job, 400) == "FINISHED:COMPLETED"
    assert not _complaints(federation.download(job))

    one, other = SITES
    _pin(federation, one, {**pins, other: f"sha256:{'0' * 64}"})
    job = federation.submit(federation.export(_private("minted")))
    federation.wait(job, 400)
    told = _complaints(federation.download(job))
    print(told)
    assert any(f"{other}: its certificate is {pins[other]}" in complaint for complaint in told)


def _fingerprint(federation: Federation, name: str) -> str:
    return federation.fedefm("provision", "fingerprint", str(federation.kit(name))).stdout.strip()


def _pin(federation: Federation, site: str, peers: dict[str, str]) -> None:
    path = federation.write_site_file(site, policy=POLICY)
    path.write_text(f"{path.read_text()}peers: {json.dumps(peers)}\n")


def _private(name: str) -> dict[str, Any]:
    return tiny_run(name, rounds=1) | {"privacy": {"dp": {**DP, "epsilon": 1.0}}}


def _complaints(run_folder: Path) -> list[str]:
    """Whatever the run folder says of refused messages and failures."""
    events = [json.loads(line) for line in (run_folder / "events.jsonl").read_text().splitlines()]
    status = json.loads((run_folder / "status.json").read_text())
    said = [json.dumps(event) for event in events if "certificate" in json.dumps(event)]
    return said + [status["sentence"]] * bool(status["sentence"])


def _an_honest_job_runs_and_reads_images(federation: Federation, honest: Path) -> None:
    """The test of the test: what is refused above is not all that there is."""
    job = federation.submit(honest)
    assert federation.wait(job, 400) == "FINISHED:COMPLETED"
    assert {path.parent.name for path in _read(federation)} == set(SITES)
    result = federation.download(job)
    told = b"".join(p.read_bytes() for p in result.rglob("*") if p.is_file())
    assert str(federation.home).encode() not in told


def _handed_in(federation: Federation, job: Path, hostile: Hostile) -> tuple[str, str, str]:
    """Where it was refused, what its submitter reads there, and FLARE's id of the job."""
    session = new_secure_session(hostile.who, str(federation.kit(hostile.who)), timeout=60.0)
    try:
        try:
            id_ = session.submit_job(str(job))
        except Exception as error:
            return AT_SUBMISSION, str(error), ""
        return *_refusal(session, id_), id_
    finally:
        session.close()


def _refusal(session: Session, id_: str) -> tuple[str, str]:
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        known = session.get_job_meta(id_)
        if known["status"].startswith(("FINISHED", "FAILED", "ABORTED")):
            detail = known.get("job_deploy_detail") or []
            if known["status"] == "FINISHED:FAILED_TO_RUN" and not detail:
                time.sleep(0.5)
                continue  # FLARE writes down why after it has written that
            for line in detail:
                party, _, said = line.partition(": ")
                if party in (SERVER, "server", *SITES) and said != "OK":
                    return party, said.removeprefix("NVFLARE_ERROR: ")
            return known["status"], str(detail)
        time.sleep(0.5)
    return "nowhere", "it runs"


def _forget_reading(federation: Federation) -> None:
    for path in _images(federation):
        os.utime(path, (LONG_AGO, LONG_AGO))


def _read(federation: Federation) -> list[Path]:
    """The images that somebody has read since."""
    return [path for path in _images(federation) if path.stat().st_atime > LONG_AGO + 1]


def _images(federation: Federation) -> list[Path]:
    return sorted(federation.sites_folder.glob("*/*.png"))
