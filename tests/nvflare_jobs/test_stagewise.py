"""Sites with different tasks train one encoder, stage by stage, over the borders of any run."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from fedefm.config import PrivacyConfig, RunConfig, parse
from fedefm.data.manifest import Row, write_manifest
from fedefm.errors import ConfigError, DataError
from fedefm.events import read_events
from fedefm.finetune.start import Start
from fedefm.model.encoder import read_encoder
from fedefm.report.metrics_csv import rows_of
from fedefm.report.run_report import write_report
from fedefm.train.header import Header
from fedefm.train.run import run_in_process
from fedefm.train.simulate import Faults
from fedefm.train.state import load_state
from nvflare_jobs import cli
from nvflare_jobs.protect import ByLedger
from nvflare_jobs.secure import BySecureSums
from nvflare_jobs.simulator import run_in_simulator
from privacy.secagg.plan import PHASES

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 32
TASKS = {
    "shape": {"kind": "classification", "classes": ["disk", "square"]},
    "bar": {"kind": "segmentation", "classes": ["background", "bar"]},
    "width": {"kind": "regression", "lowest": 0, "highest": 20},
}
KINDS = {"eye": "shape", "skin": "bar", "head": "width", "chest": "shape"}
STAGES = [{"sites": ["eye", "skin"], "rounds": 2}, {"sites": ["head", "chest"], "rounds": 2}]
CLOSE = 2e-4  # of weights after some rounds: every sum rounds, and training carries it on


def picture(task: str, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Image, mask and label of one patient."""
    image, mask = rng.normal(110, 12, (SIZE, SIZE)), np.zeros((SIZE, SIZE), np.uint8)
    y, x = np.mgrid[:SIZE, :SIZE] - 15.5
    if task == "shape":
        label = ("disk", "square")[k % 2]
        image[(np.hypot(x, y) < 11) if k % 2 == 0 else (abs(x) < 7) & (abs(y) < 7)] += 90
        return image, mask, label
    wide = 4 + k % 4
    mask[:, 3 : 3 + wide] = 1
    image[mask == 1] += 90
    return image, mask, "" if task == "bar" else str(2.5 * wide)


def write_site(folder: Path, task: str, patients: int, masks: bool) -> None:
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(len(folder.name)), []
    for k in range(patients):
        image, mask, label = picture(task, k, rng)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{k}.png")
        Image.fromarray(mask).save(folder / f"{k}_mask.png")
        drawn = f"{k}_mask.png" if masks else ""
        split = ("train", "train", "train", "train", "validation", "test")[k // 2 % 6]
        rows.append(Row(f"{k}.png", 0, f"{folder.name}-{k}", folder.name, label, drawn, split))
    write_manifest(folder / "manifest.csv", rows)


@pytest.fixture(scope="session")
def wards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sites folder of four sites with three tasks, and a server; nobody may change it."""
    folder = tmp_path_factory.mktemp("wards") / "sites"
    for site, task in KINDS.items():
        write_site(folder / site, task, 24, masks=task == "bar")
        told = {"datasets": {"tasks": {"manifest": "manifest.csv"}}, "ledger": "ledger.sqlite"}
        told["datasets"]["tasks"]["labels"] = ["anything"]
        (folder / site / "fedefm_site.yaml").write_text(yaml.safe_dump(told))
    write_site(folder.parent / "public", "bar", 12, masks=False)
    (folder / "fedefm_server.yaml").write_text("datasets: {public: ../public/manifest.csv}\n")
    return folder


@pytest.fixture(scope="session")
def six_wards(wards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two more, so that stages of three can be told apart in secure sums."""
    folder = Path(shutil.copytree(wards, tmp_path_factory.mktemp("six") / "sites"))
    for name, like in {"nose": "eye", "knee": "head"}.items():
        shutil.copytree(folder / like, folder / name)
        table = folder / name / "manifest.csv"
        table.write_text(table.read_text().replace(f"{like}-", f"{name}-"))
    return folder


def in_sums() -> RunConfig:
    """Stages of three sites each, in secure sums."""
    early, late = ["eye", "skin", "nose"], ["head", "chest", "knee"]
    kinds = {**KINDS, "nose": "shape", "knee": "width"}
    staged = {
        "stages": [{"sites": early, "rounds": 2}, {"sites": late, "rounds": 2}],
        "tasks": {site: TASKS[task] for site, task in kinds.items()},
    }
    return stages(stagewise=staged, privacy={"secagg": {"largest_site": 40}})


def stage_sums(folder: Path) -> list[Any]:
    events = read_events(folder / "events.jsonl")
    wanted = ("round", "stages", "sites", "images", "score")
    return [tuple(e[k] for k in wanted) for e in events if e["event"] == "stage"]


def stages(**changes: Any) -> RunConfig:
    told = {
        "name": "staged",
        "dataset": "tasks",
        "model": {"backbone": "vit_micro", "image_size": SIZE},
        "training": {"batch_size": 4, "learning_rate": 0.03},
        "federation": {
            "scenario": "client_server",
            "algorithm": "stagewise",
            "rounds": 4,
            "local_steps": 2,
            "evaluate_every": 3,
        },
        "stagewise": {"stages": STAGES, "tasks": {s: TASKS[t] for s, t in KINDS.items()}},
    }
    for name, part in changes.items():
        told[name] = {**told.get(name, {}), **part} if isinstance(part, dict) else part
    return parse(told, RunConfig, "run")


def result_of(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return told


def scores(folder: Path, split: str) -> dict[tuple[int, str], float]:
    events = read_events(folder / "events.jsonl")
    told = [e for e in events if e["event"] == "evaluated" and e["split"] == split]
    return {(e["round"], e["site"]): e["score"] for e in told}


def test_each_stage_s_sites_train_and_every_task_is_measured_after_every_stage(
    wards: Path, tmp_path: Path
) -> None:
    out = run_in_process(stages(), wards, tmp_path / "run")
    told = result_of(out)
    assert told["participation"] == {"eye": [0, 1], "skin": [0, 1], "head": [2, 3], "chest": [2, 3]}
    measured = scores(out, "validation")
    assert {site for k, site in measured if k == 1} == set(KINDS)
    assert {site for k, site in measured if k == 3} == set(KINDS)
    assert {site for _, site in scores(out, "test")} == set(KINDS)
    by_site = [value for (_, site), value in scores(out, "test").items()]
    assert told["metrics"]["mean_site_score"] == pytest.approx(sum(by_site) / 4)
    assert "labels" not in (out / "model_card.md").read_text()


def test_the_run_file_of_the_guide_runs(
    wards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is but for its length, with a start and curation, whose comments are taken away."""
    text = (REPOSITORY / "examples/meduniverse.yaml").read_text()
    told = yaml.safe_load(re.sub(r"^(  )# (?=start|curation|  )", r"\1", text, flags=re.MULTILINE))
    assert told["stagewise"]["curation"]["images"] > 8
    assert told["model"].pop("start") == "mim"
    told["stagewise"]["curation"] |= {"images": 8, "steps": 2}
    told["stagewise"]["stages"] = [{**stage, "rounds": 1} for stage in told["stagewise"]["stages"]]
    told["federation"] |= {"rounds": 2, "local_steps": 1}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(told))
    folder = Path(shutil.copytree(wards, tmp_path / "sites"))
    shutil.copytree(wards.parent / "public", tmp_path / "public")
    names = {"eye-clinic": "skin", "lab": "skin", "obstetrics": "head", "radiology": "eye"}
    for name, like in names.items():
        shutil.copytree(folder / like, folder / name)
        table = (folder / name / "manifest.csv").read_text().replace(f"{like}-", f"{name}-")
        table = re.sub(",disk,", ",No_findings,", re.sub(",square,", ",Pneumonia,", table))
        (folder / name / "manifest.csv").write_text(re.sub(r",(1[0-9]\.\d),", r",1\1,", table))
    for name in KINDS:
        shutil.rmtree(folder / name)
    order = ["run", tmp_path / "run.yaml", "--sites", folder, "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["fedefm", *map(str, order)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (None, 0)
    assert len(scores(tmp_path / "out", "test")) == 4


def test_what_comes_out_is_an_encoder_without_any_head_and_starts_fine_tuning(
    wards: Path, tmp_path: Path
) -> None:
    out = run_in_process(stages(), wards, tmp_path / "run")
    encoder = read_encoder(out / "model.safetensors").backbone.state_dict()
    assert all(name.startswith("backbone.") for name in load_file(out / "model.safetensors"))
    segmenter = Start(out / "model.safetensors").segmenter(2, seed=1)
    for name, tensor in encoder.items():
        assert torch.equal(segmenter.backbone.state_dict()[name], tensor), name


def test_an_encoder_is_handed_on_and_cannot_be_measured_without_a_task(
    wards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run_in_process(stages(), wards, tmp_path / "run") / "model.safetensors"
    told = {}
    orders = {
        "evaluate": ["evaluate", out, wards / "eye/manifest.csv"],
        "predict": ["predict", out, wards / "eye", tmp_path / "marked"],
        "export": ["export", out, tmp_path / "handover", "--onnx", "--no-program"],
    }
    for name, order in orders.items():
        monkeypatch.setattr("sys.argv", ["fedefm", *map(str, order)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told[name] = (ended.value.code, capsys.readouterr().err)
    assert told["evaluate"][0] == 2
    assert "fine-tune it for one" in told["evaluate"][1]
    assert told["predict"][0] == 2
    assert "it holds an encoder without a task" in told["predict"][1]
    assert told["export"][0] in (None, 0)
    assert (tmp_path / "handover/backbone.onnx").is_file()


def test_heads_never_leave_a_site(wards: Path, tmp_path: Path) -> None:
    """What the server keeps, and what it was ever sent, is as long as the encoder."""
    out = run_in_process(stages(), wards, tmp_path / "run")
    saved = load_state(out / "state")
    assert saved is not None
    _, parties = saved
    assert all(name.startswith("backbone.") for name in parties["server"]["weights"])
    kinds = {site: {n.split(".")[0] for n in parties[site]["weights"]} for site in KINDS}
    assert all("head" in found for found in kinds.values())
    assert "decoder" in kinds["skin"]


def test_a_killed_run_goes_on_with_the_same_numbers(wards: Path, tmp_path: Path) -> None:
    whole = run_in_process(stages(), wards, tmp_path / "whole")
    half = stages()

    class Killed(BaseException):
        pass

    def kill(event: Any) -> None:
        if event["event"] == "checkpoint" and event["round"] == 1:
            raise Killed

    with pytest.raises(Killed):
        run_in_process(half, wards, tmp_path / "half", listeners=(kill,))
    run_in_process(half, wards, tmp_path / "half", resume=True)
    one, other = (load_file(f / "model.safetensors") for f in (whole, tmp_path / "half"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_server_fits_the_encoder_to_features_of_its_own_images(
    wards: Path, tmp_path: Path
) -> None:
    curation = {"dataset": "public", "images": 8, "steps": 3}
    run_in_process(stages(), wards, tmp_path / "without")
    run_in_process(stages(stagewise={"curation": curation}), wards, tmp_path / "with")
    one, other = (load_file(tmp_path / f / "model.safetensors") for f in ("without", "with"))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert scores(tmp_path / "with", "validation")[1, "eye"] >= -1


def test_private_sites_spend_only_in_their_own_stage(wards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(wards, tmp_path / "sites"))
    dp = {"epsilon": 8.0, "patients_per_step": 4}
    run_in_process(stages(privacy={"dp": dp}), folder, tmp_path / "run", protect=ByLedger())
    told = result_of(tmp_path / "run")["privacy"]
    assert {site: told[site]["steps"] for site in KINDS} == dict.fromkeys(KINDS, 4)


def test_secure_sums_give_the_same_encoder(wards: Path, tmp_path: Path) -> None:
    both = [{"sites": list(KINDS), "rounds": 2}, {"sites": list(KINDS), "rounds": 1}]
    staged = {"stages": both}
    length = {"rounds": 3}
    plain = stages(stagewise=staged, federation=length)
    hidden = stages(stagewise=staged, federation=length, privacy={"secagg": {"largest_site": 40}})
    run_in_process(plain, wards, tmp_path / "plain")
    run_in_process(hidden, wards, tmp_path / "secure", hide=BySecureSums(None))
    one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("plain", "secure"))
    assert 0 < max(float((one[name] - other[name]).abs().max()) for name in one) < CLOSE
    score = result_of(tmp_path / "secure")["metrics"]["global_score"]
    assert score == pytest.approx(result_of(tmp_path / "plain")["metrics"]["global_score"], abs=0.1)
    events = read_events(tmp_path / "secure/events.jsonl")
    assert not [event for event in events if event["event"] == "rejected"]


def test_secure_sums_tell_the_tasks_of_each_stage_after_each_stage_and_no_site_s_own(
    six_wards: Path, tmp_path: Path
) -> None:
    out = run_in_process(in_sums(), six_wards, tmp_path / "run", hide=BySecureSums(None))
    found = stage_sums(out)
    assert [told[:3] for told in found] == [(1, [1], 3), (3, [1], 3), (3, [2], 3)]
    events = list(read_events(out / "events.jsonl"))
    assert not [event for event in events if event["event"] in ("evaluated", "rejected")]
    page = write_report(out).read_text()
    assert "Every task after every stage" in page
    assert "classification and segmentation" in page
    assert "No site's own is told" in page
    rows = [row for event in events for row in rows_of(event)]
    assert (3, "stage 1", "score/validation", found[1][4]) in rows


@pytest.mark.parametrize("phase", PHASES)
def test_who_is_lost_in_one_stage_s_sum_leaves_the_other_stage_s_whole(
    six_wards: Path, tmp_path: Path, phase: str
) -> None:
    """Of three, all have to help to open a sum: two would not hide one from a colluder."""

    def lose(header: Header) -> bool:
        lost = (f"metrics/{phase}", 3)
        return "chest" in (header.sender, header.receiver) and (header.phase, header.round) == lost

    hide, faults = BySecureSums(None), Faults(lose=lose)
    out = run_in_process(in_sums(), six_wards, tmp_path / "run", faults=faults, hide=hide)
    found = stage_sums(out)
    assert [told[:3] for told in found] == [(1, [1], 3), (3, [1], 3), (3, [2], 0)]


def test_a_round_whose_sum_did_not_open_is_told(six_wards: Path, tmp_path: Path) -> None:
    """Its sites trained in vain, and are not to blame."""
    faults = Faults(lose=lambda h: (h.phase, h.sender, h.round) == ("sum/masked", "chest", 2))
    hide = BySecureSums(None)
    out = run_in_process(in_sums(), six_wards, tmp_path / "run", faults=faults, hide=hide)
    events = list(read_events(out / "events.jsonl"))
    assert [e["unmoved"] for e in events if e["event"] == "server"] == [False, False, True, False]
    told = write_report(out).read_text().replace("\u00a0", " ")
    assert "In 1 round (3) the server could open no sum" in told


def test_private_sites_tell_their_tasks_in_sums_from_their_own_stage_on(
    six_wards: Path, tmp_path: Path
) -> None:
    """None is asked to tell before it trained, when its ledger has no entry for the run."""
    folder = Path(shutil.copytree(six_wards, tmp_path / "sites"))
    privacy = {"dp": {"epsilon": 8.0, "patients_per_step": 4}, "secagg": {"largest_site": 40}}
    run = in_sums().model_copy(update={"privacy": PrivacyConfig.model_validate(privacy)})
    hide = BySecureSums(None)
    out = run_in_process(run, folder, tmp_path / "run", protect=ByLedger(), hide=hide)
    assert [told[:3] for told in stage_sums(out)] == [(1, [1], 3), (3, [1], 3), (3, [2], 3)]
    assert not [e for e in read_events(out / "events.jsonl") if e["event"] == "rejected"]


@pytest.mark.slow
def test_private_sites_give_features_in_secure_sums(wards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(wards, tmp_path / "sites"))
    shutil.copytree(wards.parent / "public", tmp_path / "public")
    run = stages(
        stagewise={
            "stages": [{"sites": list(KINDS), "rounds": 1}],
            "curation": {"dataset": "public", "images": 8, "steps": 3},
        },
        federation={"rounds": 1, "local_steps": 1},
        privacy={"dp": {"epsilon": 8.0, "patients_per_step": 4}, "secagg": {"largest_site": 40}},
    )
    hide = BySecureSums(None)
    run_in_process(run, folder, tmp_path / "run", protect=ByLedger(), hide=hide)
    told = result_of(tmp_path / "run")
    assert all(spent["epsilon"] <= 8 for spent in told["privacy"].values())
    assert all(turns == [0] for turns in told["participation"].values())
    events = read_events(tmp_path / "run/events.jsonl")
    assert not [event for event in events if event["event"] == "rejected"]


@pytest.mark.flare
def test_the_simulator_makes_the_same_encoder(wards: Path, tmp_path: Path) -> None:
    curation = {"dataset": "public", "images": 8, "steps": 3}
    run = stages(stagewise={"curation": curation})
    run_in_process(run, wards, tmp_path / "process")
    run_in_simulator(run, wards, tmp_path / "simulator")
    one, other = (tmp_path / n / "model.safetensors" for n in ("process", "simulator"))
    assert {n: t.tolist() for n, t in load_file(one).items()} == {
        n: t.tolist() for n, t in load_file(other).items()
    }
    for split in ("validation", "test"):
        first, second = (scores(tmp_path / n, split) for n in ("process", "simulator"))
        second.pop((3, "global"), None)  # a mean over tasks, which one process puts into its result
        first.pop((3, "global"), None)
        assert first == second
    assert {site for _, site in first} == set(KINDS)
    events = read_events(tmp_path / "simulator/events.jsonl")
    assert {event["status"] for event in events if event["event"] == "round"} == {"ok", "resting"}


@pytest.mark.flare
def test_stages_tell_the_same_sums_in_the_simulator(six_wards: Path, tmp_path: Path) -> None:
    run_in_process(in_sums(), six_wards, tmp_path / "process", hide=BySecureSums(None))
    run_in_simulator(in_sums(), six_wards, tmp_path / "simulator")
    one, other = (stage_sums(tmp_path / name) for name in ("process", "simulator"))
    assert len(one) == 3
    assert one == other


Change = Callable[[Path], None]


def test_a_start_is_the_server_s_and_reaches_every_site(wards: Path, tmp_path: Path) -> None:
    """With one round at next to no rate, what comes out is what the server started from."""
    folder = Path(shutil.copytree(wards, tmp_path / "sites"))
    first = run_in_process(stages(), folder, tmp_path / "first") / "model.safetensors"
    text = f"starts: {{mim: {first}}}\n"
    (folder / "fedefm_server.yaml").write_text(text)
    idle = stages(model={"start": "mim"}, training={"learning_rate": 1e-12})
    out = run_in_process(idle, folder, tmp_path / "second") / "model.safetensors"
    one, other = load_file(first), load_file(out)
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stagewise": {"stages": STAGES[:1]}}, "in no stage"),
        ({"stagewise": {"stages": [*STAGES, {"sites": ["moon"]}]}}, "has no task"),
        ({"federation": {"rounds": 5}}, "set it to 4"),
        ({"stagewise": {"curation": {"dataset": "elsewhere"}}}, "is not in"),
        ({"stagewise": {"curation": {"dataset": "public", "images": 99}}}, "set it to fewer"),
        ({"model": {"start": "nothing"}}, "which knows none"),
        ({"dataset": "unknown"}, "unknown"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    wards: Path, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=told):
        run_in_process(stages(**change), wards, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_at_the_server_are_refused(wards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(wards, tmp_path / "sites"))
    (folder / "fedefm_server.yaml").write_text("datasets: {public: eye/manifest.csv}\n")
    run = stages(stagewise={"curation": {"dataset": "public", "images": 8}})
    with pytest.raises(DataError, match="of 24 rows 24 have a label"):
        run_in_process(run, folder, tmp_path / "run")


@pytest.mark.parametrize(
    ("site", "column", "told"),
    [
        ("eye", "label", "has no label"),
        ("skin", "mask_path", "has no mask"),
        ("head", "label", "has no number"),
    ],
)
def test_a_task_without_its_data_is_refused(
    wards: Path, tmp_path: Path, site: str, column: str, told: str
) -> None:
    folder = Path(shutil.copytree(wards, tmp_path / "sites"))
    path = folder / site / "manifest.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    place = lines[0].index(column)
    for line in lines[1:]:
        line[place] = ""
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")
    with pytest.raises(DataError, match=told) as refused:
        run_in_process(stages(), folder, tmp_path / "run")
    assert f"{site}-0" not in str(refused.value)  # nobody's name
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "groups",
    [
        [list(KINDS)[:3], list(KINDS)],  # all four less the three of a stage are one
        [["eye", "skin", "head"], ["head", "chest", "eye"]],  # so are both less all
    ],
)
def test_stages_that_would_show_a_site_by_what_others_gave_are_refused(
    wards: Path, tmp_path: Path, groups: list[list[str]]
) -> None:
    staged = [{"sites": sites, "rounds": 2} for sites in groups]
    run = stages(stagewise={"stages": staged}, privacy={"secagg": {"largest_site": 40}})
    with pytest.raises(ConfigError, match="give them the same sites, or none in common"):
        run_in_process(run, wards, tmp_path / "run", hide=BySecureSums(None))
    assert not (tmp_path / "run").exists()


def test_a_stage_too_small_to_hide_a_site_is_refused(wards: Path, tmp_path: Path) -> None:
    run = stages(privacy={"secagg": {"largest_site": 40}})
    with pytest.raises(ConfigError, match="stage 1 has 2 of the 3 sites"):
        run_in_process(run, wards, tmp_path / "run", hide=BySecureSums(None))


def test_a_site_in_no_stage_is_refused(wards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(wards, tmp_path / "sites"))
    shutil.copytree(folder / "eye", folder / "knee")
    manifest = folder / "knee" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("eye-", "knee-"))
    with pytest.raises(ConfigError, match="'knee' is a site of this run and in no stage"):
        run_in_process(stages(), folder, tmp_path / "run")


def test_the_report_draws_every_task_after_every_stage(wards: Path, tmp_path: Path) -> None:
    out = run_in_process(stages(), wards, tmp_path / "run")
    page = write_report(out).read_text()
    assert 'id="stages"' in page
