"""What a job says, and what cannot be a job."""

import json

import networkx as nx
import pytest

from fedefm import __version__
from fedefm.config import RunConfig
from fedefm.errors import ConfigError
from fedefm.versions import release
from nvflare_jobs.jobs.pretrain import PretrainRecipe
from nvflare_jobs.parties.saved_run import terms_digest
from nvflare_jobs.parties.terms import read_terms, terms_for

SITES = ("hosp-a", "hosp-b", "hosp-c")


def test_survive_as_text(tiny_run) -> None:
    terms = terms_for(tiny_run, SITES)
    assert read_terms(terms.model_dump_json()) == terms


def test_carry_the_links_of_a_file_and_not_its_place(make_run, tmp_path) -> None:
    path = tmp_path / "line.gml"
    nx.write_gml(nx.path_graph(SITES, create_using=nx.Graph), path)
    terms = terms_for(make_run(topology=str(path)), SITES)
    path.unlink()
    graph = read_terms(terms.model_dump_json()).plan().graph
    assert set(map(frozenset, graph.edges)) == {frozenset(SITES[:2]), frozenset(SITES[1:])}
    assert str(tmp_path) not in terms.model_dump_json()


def test_refuse_a_graph_with_a_site_that_is_not_in_the_job(make_run, tmp_path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("hosp-a,hosp-b\nhosp-b,hosp-x\n")
    with pytest.raises(ConfigError, match="'hosp-x' is not a site of this job"):
        terms_for(make_run(topology=str(path)), SITES[:2])


def test_refuse_a_run_without_classes(tiny_run) -> None:
    model = tiny_run.model.model_copy(update={"classes": ()})
    with pytest.raises(ConfigError, match=r"model\.classes is empty"):
        terms_for(tiny_run.model_copy(update={"model": model}), SITES)


def test_refuse_a_start_that_the_server_would_need_too(tiny_run) -> None:
    model = tiny_run.model.model_copy(update={"start": "public"})
    with pytest.raises(ConfigError, match="'public' is not possible in a job yet"):
        terms_for(tiny_run.model_copy(update={"model": model}), SITES)


def test_a_start_that_the_server_alone_hands_out_is_possible_in_a_job(tiny_run) -> None:
    kind = {"kind": "classification", "classes": ["bars", "disk"]}
    told = {
        **tiny_run.model_dump(),
        "model": {"backbone": "resnet_micro", "image_size": 16, "start": "public"},
        "federation": {"scenario": "client_server", "algorithm": "stagewise", "rounds": 2},
        "stagewise": {
            "stages": [{"sites": SITES, "rounds": 2}],
            "tasks": dict.fromkeys(SITES, kind),
        },
    }
    terms = terms_for(RunConfig.model_validate(told), SITES)
    assert read_terms(terms.model_dump_json()).run.model.start == "public"


def test_refuse_a_site_name_that_flare_cannot_have(tiny_run) -> None:
    with pytest.raises(ConfigError, match=r"'St\. Mary'"):
        PretrainRecipe(terms_for(tiny_run, ("hosp-a", "hosp-b", "St. Mary")))


def test_all_mistakes_of_a_forged_job_are_told_at_once(tiny_run) -> None:
    text = terms_for(tiny_run, SITES).model_dump_json().replace('"rounds":3', '"rounds":0')
    with pytest.raises(ConfigError, match=r"run\.federation\.rounds"):
        read_terms(text)


def job_of_version(run, version: str | None) -> str:
    """The text of a job as ``version`` of the toolkit makes it; None: before jobs said it."""
    terms = json.loads(terms_for(run, SITES).model_dump_json())
    if version is None:
        del terms["toolkit"]
    else:
        terms["toolkit"] = version
    return json.dumps(terms)


def test_a_job_says_which_version_made_it(tiny_run) -> None:
    assert terms_for(tiny_run, SITES).toolkit == __version__


def test_a_patch_release_runs_the_jobs_of_another(tiny_run) -> None:
    patched = f"{release(__version__)}.99"
    assert read_terms(job_of_version(tiny_run, patched)).toolkit == patched


@pytest.mark.parametrize("version", ["0.0.9", "99.0.0", "0.10.0", "new", "", None, 7])
def test_a_job_of_another_release_is_refused_with_a_way_out(tiny_run, version) -> None:
    told = rf"made with .*{__version__} is installed here.*export it again with fedefm"
    with pytest.raises(ConfigError, match=told):
        read_terms(job_of_version(tiny_run, version))


def test_another_release_is_told_before_what_it_calls_its_settings(tiny_run) -> None:
    terms = json.loads(job_of_version(tiny_run, "99.0.0"))
    terms["run"]["a setting of tomorrow"] = 1
    with pytest.raises(ConfigError, match=r"^the job was made with fedefm '99\.0\.0'"):
        read_terms(json.dumps(terms))


def test_a_run_goes_on_across_a_patch_and_not_across_a_release(tiny_run) -> None:
    before = terms_for(tiny_run, SITES)
    patched = before.model_copy(update={"toolkit": f"{release(__version__)}.99"})
    other = before.model_copy(update={"toolkit": "99.0.0"})
    assert terms_digest(patched) == terms_digest(before) != terms_digest(other)
