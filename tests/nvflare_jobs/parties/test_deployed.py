"""A job is taken in one form only, and what else it brings is refused in words."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from nvflare.fuel.utils.json_scanner import JsonScanner
from nvflare.fuel.utils.wfconf import resolve_var_refs

from fedefm.config import RunConfig
from fedefm.errors import ConfigError
from nvflare_jobs.jobs.pretrain import export_job, export_tracked_job
from nvflare_jobs.parties.deployed import (
    LONGEST,
    deployed_terms,
    refuse_claims,
    server_terms_in,
    terms_in,
)
from nvflare_jobs.parties.terms import Terms, terms_for

SITES = ("hosp-a", "hosp-b")
RUN = RunConfig.model_validate({"name": "study", "model": {"classes": ["disk", "bars"]}})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_job(terms_for(RUN, SITES), tmp_path_factory.mktemp("jobs"))


@pytest.fixture
def config(exported: Path) -> dict[str, Any]:
    text = (exported / "app_hosp-a" / "config" / "config_fed_client.json").read_text()
    return dict(json.loads(text))


@pytest.fixture
def of_server(exported: Path) -> dict[str, Any]:
    text = (exported / "app_server" / "config" / "config_fed_server.json").read_text()
    return dict(json.loads(text))


def terms_of(config: dict[str, Any]) -> Terms:
    return terms_in(json.dumps(config))


def with_terms(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The configuration with other settings in its terms; ``a__b`` is ``b`` of ``a`` of the run."""
    args = config["executors"][0]["executor"]["args"]
    terms = json.loads(args["job_terms"])
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            terms["run"][section][key] = value
        else:
            terms[name] = value
    args["job_terms"] = json.dumps(terms)
    return config


def test_an_exported_job_has_its_terms_at_sites_and_server(config, of_server) -> None:
    assert terms_of(config) == server_terms_in(json.dumps(of_server)) == terms_for(RUN, SITES)


@pytest.mark.parametrize(
    "part", ["components", "task_data_filters", "task_result_filters", '"run"', "@defined", "x"]
)
def test_whatever_else_a_configuration_brings_is_refused_by_name(config, of_server, part) -> None:
    for taken, read in ((config, terms_in), (of_server, server_terms_in)):
        with pytest.raises(ConfigError, match=f"it brings {part} of its own"):
            read(json.dumps({**taken, part: [{"path": "nvflare.x.Y", "args": {}}]}))


def test_a_name_of_the_job_would_become_a_variable_in_flare_and_is_refused(config) -> None:
    """What the guard reads and what FLARE hands to the executor would be two texts."""
    args = config["executors"][0]["executor"]["args"]
    config["x"], args["job_terms"] = args["job_terms"], "{x}"
    changed = copy.deepcopy(config)
    resolve_var_refs(JsonScanner(changed), copy.deepcopy(config))
    assert changed["executors"][0]["executor"]["args"]["job_terms"] == config["x"]
    with pytest.raises(ConfigError, match="it brings x of its own"):
        terms_of(config)


@pytest.mark.parametrize("place", ["{$SECRET}", "{SITE_NAME}", " {$SECRET} ", "${secret:SECRET}"])
def test_no_name_of_the_environment_is_replaced_in_terms_that_are_taken(
    config, place, monkeypatch
) -> None:
    monkeypatch.setenv("SECRET", "of the hospital")
    config = with_terms(config, model__classes=[place, "disk"])
    taken = terms_of(config)
    changed = copy.deepcopy(config)
    resolve_var_refs(JsonScanner(changed), {**copy.deepcopy(config), "SITE_NAME": "hosp-a"})
    assert changed == config
    assert terms_of(changed) == taken


@pytest.mark.parametrize("text", ["{$SECRET}", "{@terms}", "${secret:file:/etc/passwd}"])
def test_terms_that_are_a_reference_are_no_terms(config, text) -> None:
    config["executors"][0]["executor"]["args"]["job_terms"] = text
    with pytest.raises(ConfigError, match="terms are not JSON"):
        terms_of(config)


@pytest.mark.parametrize(
    "path",
    [
        "nvflare_jobs.components.gate_filter.GateFilter",
        "nvflare_jobs.components.coordinator.Coordinator",
        "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor",
        "subprocess.Popen",
    ],
)
def test_another_class_is_refused_by_name(config, path) -> None:
    config["executors"][0]["executor"]["path"] = path
    with pytest.raises(ConfigError, match=f"it wants to run '{path}' at the sites"):
        terms_of(config)


def test_another_class_is_refused_at_the_server_too(of_server) -> None:
    of_server["workflows"][0]["path"] = "nvflare.app_common.workflows.fedavg.FedAvg"
    with pytest.raises(ConfigError, match="FedAvg' at the server"):
        server_terms_in(json.dumps(of_server))
    of_server["workflows"] = []
    with pytest.raises(ConfigError, match="it has 0 workflows"):
        server_terms_in(json.dumps(of_server))


def test_only_flares_receiver_for_tensorboard_may_stand_beside_and_writes_to_its_own_folder(
    of_server, tmp_path
) -> None:
    tracked = export_tracked_job(terms_for(RUN, SITES), tmp_path)
    text = (tracked / "app_server" / "config" / "config_fed_server.json").read_text()
    assert server_terms_in(text) == terms_for(RUN, SITES)
    (receiver,) = json.loads(text)["components"]
    for entry in (
        {**receiver, "args": {"tb_folder": "/etc"}},
        {**receiver, "path": "nvflare.app_opt.tracking.mlflow.mlflow_receiver.MLflowReceiver"},
        "text",
    ):
        with pytest.raises(ConfigError, match="it brings components of its own"):
            server_terms_in(json.dumps({**of_server, "components": [entry]}))


def test_how_the_server_works_is_no_matter_of_a_job(of_server) -> None:
    for server in ({"heart_beat_timeout": 1}, ["x"]):
        with pytest.raises(ConfigError, match="it sets how the server works"):
            server_terms_in(json.dumps({**of_server, "server": server}))


READS = "{$SECRET}"  # which FLARE fills in from the environment


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config["workflows"][0].update(id=READS),
        lambda config: config["workflows"][0].update(id="other"),
        lambda config: config["workflows"][0].pop("id"),
        lambda config: config["components"][0].update(id=READS),
        lambda config: config["components"][0].pop("id"),
        lambda config: config["components"][0]["args"].update(events=[READS]),
        lambda config: config["components"].append(config["components"][0]),
        lambda config: config["server"].update(task_request_interval=READS),
        lambda config: config.update(format_version=READS),
        lambda config: config.update(format_version="2"),
        lambda config: config.update(format_version=2.0),
        lambda config: config.update(format_version=3),
        lambda config: config.pop("format_version"),
        lambda config: config.update(task_data_filters=""),
    ],
)
def test_no_text_beside_the_terms_is_free_at_the_server(tmp_path, spoil) -> None:
    """FLARE sends a workflow's id to all sites, and fills the server's environment into it."""
    tracked = export_tracked_job(terms_for(RUN, SITES), tmp_path)
    config = json.loads((tracked / "app_server" / "config" / "config_fed_server.json").read_text())
    assert server_terms_in(json.dumps(config)) == terms_for(RUN, SITES)
    spoil(config)
    with pytest.raises(ConfigError, match="no job of this project"):
        server_terms_in(json.dumps(config))


@pytest.mark.parametrize("version", [READS, "2", 2.0, True, 3])
def test_no_text_beside_the_terms_is_free_at_a_site(config, version) -> None:
    with pytest.raises(ConfigError, match="its format_version is not 2"):
        terms_of({**config, "format_version": version})


@pytest.mark.parametrize("text", ["{$SECRET}", "{@terms}", "{SITE_NAME}", "${secret:SECRET}"])
def test_a_text_that_flare_would_replace_is_refused_wherever_it_stands(
    config, of_server, text
) -> None:
    config["executors"][0]["tasks"] = [text]
    of_server["workflows"][0]["path"] = text
    for read, spoiled in ((terms_in, config), (server_terms_in, of_server)):
        with pytest.raises(ConfigError, match="FLARE would fill in names"):
            read(json.dumps(spoiled))


def test_two_executors_or_further_arguments_or_tasks_are_refused(config) -> None:
    twice = {**config, "executors": config["executors"] * 2}
    with pytest.raises(ConfigError, match="it has 2 executors, and a job has one"):
        terms_of(twice)
    (entry,) = config["executors"]
    entry["executor"]["args"]["folder"] = "/var/lib"
    with pytest.raises(ConfigError, match="other settings than its terms at the sites"):
        terms_of(config)
    entry["tasks"] = ["*"]
    with pytest.raises(ConfigError, match="other tasks"):
        terms_of(config)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"federation__topology": "../../etc/passwd"}, "is a path"),
        ({"federation__topology": "/etc/passwd"}, "is a path"),
        ({"federation__topology": "..\\links.gml"}, "is a path"),
        ({"model__start": "/srv/weights.pt"}, "is not possible in a job"),
        ({"sites": ["hosp-a", "../hosp-b"]}, "'../hosp-b' is no name of a site"),
        ({"sites": ["hosp-a", "server"]}, "'server' is no name of a site"),
        ({"sites": ["hosp-a", "hosp-a"]}, "one of them twice"),
        ({"sites": [f"s{n}" for n in range(1001)]}, "more than 1000 sites"),
        ({"run": {"name": "../../local"}}, "run.name = '../../local'"),
        ({"run": {"manifest": "/data/manifest.csv"}}, "run.manifest is not a known setting"),
        ({"federation__rounds": 10**9}, "federation.rounds"),
        ({"federation__deadline_s": 1e300}, "federation.deadline_s"),
    ],
)
def test_a_path_or_a_name_that_is_none_is_refused(config, changes, told) -> None:
    with pytest.raises(ConfigError) as refusal:
        terms_of(with_terms(config, **changes))
    assert told in str(refusal.value)


def test_gigantic_or_bottomless_settings_are_refused_before_they_are_read(config) -> None:
    with pytest.raises(ConfigError, match=f"longer than {LONGEST} characters"):
        terms_of(with_terms(config, model__classes=["x" * LONGEST]))
    with pytest.raises(ConfigError, match="is not JSON"):
        terms_in("[" * 200_000)
    config["executors"][0]["executor"]["args"]["job_terms"] = "[" * 200_000
    with pytest.raises(ConfigError, match="terms are not JSON"):
        terms_of(config)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"executors": {}}', '{"executors": [1]}']
)
def test_what_is_no_configuration_is_refused(text) -> None:
    with pytest.raises(ConfigError, match="no job of this project"):
        terms_in(text)


def test_a_file_that_cannot_be_read_is_no_job(tmp_path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("bytes", "missing"):
        with pytest.raises(ConfigError, match="cannot be read"):
            deployed_terms(tmp_path / name)


@pytest.mark.parametrize("name", ["epsilon", "Epsilon", "delta"])
def test_a_claim_about_what_is_spent_is_refused_whatever_it_says(name) -> None:
    refuse_claims({"name": "study", "min_clients": 2})
    with pytest.raises(ConfigError, match=f"claims {name}, and no site goes by a claim"):
        refuse_claims({"name": "study", name: 0.01})
