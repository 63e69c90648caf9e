"""What a job says, and what cannot be a job."""

import networkx as nx
import pytest

from fedefm.errors import ConfigError
from nvflare_jobs.jobs.pretrain import PretrainRecipe
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


def test_refuse_a_site_name_that_flare_cannot_have(tiny_run) -> None:
    with pytest.raises(ConfigError, match=r"'St\. Mary'"):
        PretrainRecipe(terms_for(tiny_run, ("hosp-a", "hosp-b", "St. Mary")))


def test_all_mistakes_of_a_forged_job_are_told_at_once(tiny_run) -> None:
    text = terms_for(tiny_run, SITES).model_dump_json().replace('"rounds":3', '"rounds":0')
    with pytest.raises(ConfigError, match=r"run\.federation\.rounds"):
        read_terms(text)
