"""From a run file and folders of images to a run folder, with kills in between."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

import fedefm.model.checkpoint as checkpoint
from fedefm.config import read_run
from fedefm.errors import ConfigError, DataError, ModelError, PolicyRefused, QuorumLost
from fedefm.events import read_events
from fedefm.model.foundation import read_foundation
from fedefm.train.run import CENTRALIZED, run_in_process
from fedefm.train.simulate import Faults
from fedefm.train.workshop import find_sites

ALGORITHMS = {
    "swap": {"expert_every": 2},
    "mixed": {"update": "mixed", "schedule": "neighbors"},
    "literal": {"update": "literal", "schedule": "neighbors"},
    "gossip": {"algorithm": "gossip"},
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "none": {"scenario": "local", "algorithm": "none"},
    "centralized": {"scenario": "centralized", "algorithm": "none"},
}


@pytest.fixture(scope="module")
def folder(written_sites):
    """Three sites, as `fedefm data split` leaves them."""
    return written_sites


def small_run(world, algorithm="swap", **federation):
    return world.settings(
        federation={"rounds": 3, "evaluate_every": 2, **ALGORITHMS[algorithm], **federation},
        distill={"beta": 0.5},
    )


def outcome(out):
    """What a run came to, but for the time it took."""
    result = json.loads((out / "result.json").read_text())
    del result["seconds"]
    model = out / "model.safetensors"
    return result, model.read_bytes() if model.exists() else None


def stop_at(kind, round_index=None):
    """A listener that kills the run at an event."""

    def listen(event):
        if event["event"] == kind and event.get("round") == round_index:
            raise KeyboardInterrupt

    return (listen,)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory, world_class):
    """An uninterrupted run of the default algorithm."""
    return run_in_process(small_run(world_class), folder, tmp_path_factory.mktemp("whole") / "run")


def test_a_run_folder_says_what_was_run_and_what_came_of_it(world, whole):
    result = json.loads((whole / "result.json").read_text())
    assert read_run(whole / "run.yaml") == small_run(world)
    assert result["schema"] == 1
    assert (result["scenario"], result["algorithm"]) == ("decentralized", "fedefm-swap")
    assert result["topology"] == "ring"
    assert result["rounds"] == 3
    assert result["sites"] == ["east", "north", "south"]
    assert result["participation"] == {site: [0, 1, 2] for site in result["sites"]}
    assert result["privacy"] == dict.fromkeys(result["sites"])
    assert result["protection"] == {
        "differential_privacy": False,
        "secure_sums": False,
        "single_releases": ["parts", "weights", "experts"],
        "end_to_end_encryption": False,
        "simulated": True,
    }
    assert 0 <= result["metrics"]["global_accuracy"] <= 1
    assert result["metrics"]["test_images"] == 6
    assert result["traffic_bytes"]["per_round"] == result["traffic_bytes"]["total"] / 3
    assert result["seconds"].keys() == {"total", "train", "exchange"}


def test_the_traffic_is_that_of_the_messages(whole):
    numbers = sum(t.numel() for t in load_file(whole / "model.safetensors").values())
    started = next(e for e in read_events(whole / "events.jsonl") if e["event"] == "run_started")
    weights = started["parameters"]
    assert 0 < weights <= numbers  # the file holds the frozen head, too
    # a ring of three: in each of rounds 0 to 2 one pair meets; round 1 is an expert round
    pairs = 4 * weights * (2 + 4 + 2)
    published = 4 * (3 * (weights + 1) + 3 * weights)
    result = json.loads((whole / "result.json").read_text())
    assert result["traffic_bytes"]["total"] == pairs + published


def test_the_model_is_whole_and_can_be_read_by_itself(world, whole):
    model = read_foundation(whole / "model.safetensors")
    assert model.classes == world.classes
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_events_tell_the_run_from_its_start_to_its_end(whole):
    kinds = [event["event"] for event in read_events(whole / "events.jsonl")]
    assert kinds[:2] == ["run_started", "corpora"]
    assert kinds[-1] == "run_finished"
    assert kinds.count("round_finished") == kinds.count("checkpoint") == 3
    corpora = next(e for e in read_events(whole / "events.jsonl") if e["event"] == "corpora")
    assert corpora["holdings"]["north"]["coarse"] == {"train": 0, "validation": 0, "test": 0}
    assert corpora["holdings"]["north"]["fine"] == {"train": 6, "validation": 2, "test": 2}


def test_what_was_taken_for_what_is_told_and_agrees_with_the_accuracy(whole, world):
    told = {event["event"]: event for event in read_events(whole / "events.jsonl")}
    counts = np.array(told["confusion"]["counts"])
    metrics = json.loads((whole / "result.json").read_text())["metrics"]
    assert told["confusion"]["classes"] == list(world.classes)
    assert counts.sum() == metrics["test_images"]
    assert counts.trace() / counts.sum() == pytest.approx(metrics["global_accuracy"])
    assert told["run_started"]["versions"].keys() == {"fedefm", "Python", "PyTorch", "NumPy"}


@pytest.mark.parametrize(
    ("kind", "round_index", "left"),
    [
        ("run_started", None, [0, 1, 2]),
        ("round_started", 0, [0, 1, 2]),
        ("round", 1, [1, 2]),
        ("round_finished", 1, [1, 2]),
        ("checkpoint", 1, [2]),
        ("round_started", 2, [2]),
        ("published", 3, []),
        ("evaluated", 2, []),
    ],
)
def test_a_run_killed_anywhere_ends_like_an_uninterrupted_one(
    world, folder, whole, tmp_path, kind, round_index, left
):
    run, out = small_run(world), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_in_process(run, folder, out, listeners=stop_at(kind, round_index))
    assert not (out / "result.json").exists()
    first = list(read_events(out / "events.jsonl"))
    if kind != "run_started":
        assert (first[-1]["event"], first[-1]["status"]) == ("run_finished", "interrupted")

    run_in_process(run, folder, out, resume=True)
    assert outcome(out) == outcome(whole)
    told = list(read_events(out / "events.jsonl"))
    again = told[len(first) :]
    assert [e["round"] for e in again if e["event"] == "round_started"] == left
    assert again[0]["resumed_from"] == (3 - len(left) or None)


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    world, folder, whole, tmp_path, monkeypatch
):
    out, save = tmp_path / "run", checkpoint.save_file
    full = "Error while serializing: I/O error: No space left on device (os error 28)"

    def refuse(tensors, target, metadata=None):
        if "round-000002" in str(target):
            raise SafetensorError(full)
        save(tensors, target, metadata)

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(ConfigError) as caught:
        run_in_process(small_run(world), folder, out)
    monkeypatch.undo()
    told = str(caught.value)
    assert told.startswith(f"run folder {out} cannot be written: No space left on device; ")
    assert told.endswith("make room, and --resume goes on with it")
    assert [path.name for path in (out / "state").iterdir()] == ["round-000001"]

    run_in_process(small_run(world), folder, out, resume=True)
    assert outcome(out) == outcome(whole)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS.keys() - {"swap"}))
def test_every_algorithm_resumes_to_the_same_figures_and_bytes(world, folder, tmp_path, algorithm):
    run = small_run(world, algorithm)
    run_in_process(run, folder, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_in_process(run, folder, tmp_path / "cut", listeners=stop_at("round", 2))
    run_in_process(run, folder, tmp_path / "cut", resume=True)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_a_finished_run_that_is_resumed_stays_as_it_is(world, folder, whole, tmp_path):
    out = tmp_path / "run"
    run_in_process(small_run(world), folder, out)
    told = (out / "events.jsonl").read_bytes()
    run_in_process(small_run(world), folder, out, resume=True)
    assert outcome(out) == outcome(whole)
    assert (out / "events.jsonl").read_bytes() == told


def test_a_folder_with_a_manifest_and_no_site_file_is_named(world, folder, tmp_path):
    sites = tmp_path / "sites"
    shutil.copytree(folder, sites)
    (sites / "forgotten").mkdir()
    (sites / "forgotten" / "manifest.csv").write_text("path\n")
    with pytest.raises(ConfigError, match="beside the manifest of forgotten"):
        run_in_process(small_run(world), sites, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_without_quorum_says_so_and_goes_on_when_the_sites_are_back(
    world, folder, whole, tmp_path
):
    out = tmp_path / "run"
    crash = Faults(crash=lambda site, round_index: round_index == 1 and site != "north")
    with pytest.raises(QuorumLost, match="1 of 3 sites took part"):
        run_in_process(small_run(world), folder, out, faults=crash)
    last = list(read_events(out / "events.jsonl"))[-1]
    assert (last["event"], last["status"]) == ("run_finished", "quorum lost")
    assert not (out / "result.json").exists()

    run_in_process(small_run(world), folder, out, resume=True)
    assert outcome(out) == outcome(whole)


def test_local_training_has_no_global_model(world, folder, tmp_path):
    out = run_in_process(small_run(world, "none"), folder, tmp_path / "run")
    result, model = outcome(out)
    assert model is None
    assert result["metrics"].keys() == {"mean_local_accuracy"}
    assert result["traffic_bytes"]["total"] == 0


def test_centralized_training_is_one_site_with_everybodys_images(world, folder, tmp_path):
    graph = tmp_path / "graph.csv"
    graph.write_text("north,east\neast,south\n")  # of no use here, and in nobody's way
    run = small_run(world, "centralized", topology=str(graph))
    out = run_in_process(run, folder, tmp_path / "run")
    result, model = outcome(out)
    assert result["sites"] == [CENTRALIZED]
    assert model is not None
    assert result["metrics"]["test_images"] == 6
    corpora = next(e for e in read_events(out / "events.jsonl") if e["event"] == "corpora")
    assert corpora["holdings"].keys() == {"north", "east", "south"}


def test_labels_are_collected_where_the_run_file_names_none(world, folder, tmp_path):
    run = world.settings(model={"classes": []}, federation={"rounds": 1})
    out = run_in_process(run, folder, tmp_path / "run")
    assert read_run(out / "run.yaml").model.classes == ("columns", "fine", "rows")


REFUSED = {
    "unknown backbone": ({"model": {"backbone": "resnet_nano"}}, ConfigError, "'resnet_nano'"),
    "size": ({"model": {"backbone": "vit_micro", "image_size": 17}}, ConfigError, "17"),
    "classes twice": ({"model": {"classes": ["fine", "fine"]}}, ModelError, "named twice: fine"),
    "label": ({"model": {"classes": ["fine", "rows"]}}, DataError, "unknown label 'columns'"),
    "pool": ({"distill": {"pool": 9}}, ModelError, "distill.pool"),
    "too many classes": (
        {"model": {"classes": [f"c{k}" for k in range(200)]}},
        ModelError,
        "200 classes",
    ),
    "topology": ({"federation": {"topology": "rign"}}, ConfigError, "did you mean 'ring'"),
    "hypercube": ({"federation": {"schedule": "hypercube"}}, ConfigError, "'hypercube' needs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_do_not_fit_are_refused_before_anything_is_written(
    world, folder, tmp_path, case
):
    changes, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        run_in_process(world.settings(**changes), folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("north,east\neast,south\nsouth,mars\n", "'mars' is not a site"),
        ("north,east\n", "'south' is not in the graph"),
    ],
)
def test_a_graph_of_other_sites_is_refused(world, folder, tmp_path, text, words):
    (tmp_path / "graph.csv").write_text(text)
    run = world.settings(federation={"topology": str(tmp_path / "graph.csv")})
    with pytest.raises(ConfigError, match=words):
        run_in_process(run, folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_settings_names_them(world, folder, whole):
    before = outcome(whole)
    run = world.settings(
        federation={"rounds": 9, "evaluate_every": 2, "expert_every": 2}, distill={"beta": 0.1}
    )
    with pytest.raises(ConfigError) as refused:
        run_in_process(run, folder, whole, resume=True)
    assert "distill.beta was 0.5 and is now 0.1" in str(refused.value)
    assert "federation.rounds was 3 and is now 9" in str(refused.value)
    assert outcome(whole) == before


def test_a_folder_in_use_is_not_run_into(world, folder, whole):
    before = outcome(whole)
    with pytest.raises(ConfigError, match="holds a run already"):
        run_in_process(small_run(world), folder, whole)
    assert outcome(whole) == before


def test_there_must_be_something_to_resume(world, folder, tmp_path):
    with pytest.raises(ConfigError, match="no run to resume"):
        run_in_process(small_run(world), folder, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_sites_names_them(world, whole, tmp_path, write_sites):
    run, out = small_run(world), tmp_path / "run"
    sites = write_sites(tmp_path / "sites", ("north", "east", "south"))
    with pytest.raises(KeyboardInterrupt):
        run_in_process(run, sites, out, listeners=stop_at("round_started", 2))
    write_sites(tmp_path / "more", ("west",))
    (tmp_path / "more" / "west").rename(sites / "west")
    with pytest.raises(ConfigError, match="had other sites; not in both: west"):
        run_in_process(run, sites, out, resume=True)


@pytest.mark.parametrize("name", ["server", "global"])
def test_a_site_cannot_have_a_name_that_means_something_else(tmp_path, write_sites, name):
    folder = write_sites(tmp_path / "sites", ("north", name))
    with pytest.raises(ConfigError, match=f"cannot be called '{name}'"):
        find_sites(folder)


def test_a_folder_without_sites_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist; make one with"):
        find_sites(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"no folder in .* holds a fedefm_site\.yaml"):
        find_sites(tmp_path)


def test_a_dataset_that_a_site_does_not_know_is_named_with_those_it_knows(world, folder, tmp_path):
    run = small_run(world).model_copy(update={"dataset": "other"})
    with pytest.raises(ConfigError, match=r"'other' is not in .* knows pretraining"):
        run_in_process(run, folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_site_without_training_images_is_refused(world, tmp_path, write_sites):
    folder = write_sites(tmp_path / "sites", ("north", "east"), splits=("test",))
    with pytest.raises(DataError, match="no rows for training"):
        run_in_process(small_run(world), folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_without_a_split_are_for_training_and_nothing_is_measured(
    world, tmp_path, write_sites
):
    folder = write_sites(tmp_path / "sites", ("north", "east"), splits=("",))
    run = small_run(world, rounds=1)
    result, _ = outcome(run_in_process(run, folder, tmp_path / "run"))
    assert result["metrics"] == {"global_accuracy": None, "mean_site_accuracy": None}


def demand(sites, site, policy):
    path = sites / site / "fedefm_site.yaml"
    settings = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**settings, "policy": policy}))


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ({"require_dp": True}, "requires differential privacy"),
        ({"epsilon_cap": 3.0}, "caps epsilon at 3, .* set privacy.dp"),
        ({"min_cohort": 5}, r"hidden among 5 others \(policy.min_cohort\).*set privacy.secagg"),
    ],
)
def test_what_a_site_demands_and_nobody_can_keep_is_refused(
    world, folder, tmp_path, policy, sentence
):
    sites = tmp_path / "sites"
    shutil.copytree(folder, sites)
    demand(sites, sorted(path.name for path in sites.iterdir() if path.is_dir())[0], policy)
    with pytest.raises(PolicyRefused, match=sentence):
        run_in_process(small_run(world), sites, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_patient_at_two_sites_is_refused_without_being_named(world, folder, tmp_path):
    sites = tmp_path / "sites"
    shutil.copytree(folder, sites)
    first = sorted(path for path in sites.iterdir() if path.is_dir())[0]
    shutil.copytree(first, sites / "twin")
    with pytest.raises(DataError, match="'twin' share") as refused:
        run_in_process(small_run(world), sites, tmp_path / "run")
    patients = {line.split(",")[2] for line in (first / "manifest.csv").read_text().split()[1:]}
    assert not any(patient in str(refused.value) for patient in patients)
