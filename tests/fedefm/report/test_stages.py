"""Every task after every stage, from events written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedefm.report.record import RunRecord, read_record
from fedefm.report.stages import first_rounds, stages_of
from fedefm.report.tables import score_series

TASKS = {"eye": "segmentation", "lab": "segmentation", "ward": "regression", "skin": "regression"}
TWICE = [["eye", "lab"], ["ward", "skin"], ["lab", "eye"]]  # the first group once more, at the end


def record_of(folder: Path, stages: list[list[str]], told: list[dict[str, Any]]) -> RunRecord:
    """A run with stages of two rounds each."""
    settings = {
        "stagewise": {
            "stages": [{"sites": sites, "rounds": 2} for sites in stages],
            "tasks": {site: {"kind": kind} for site, kind in TASKS.items()},
        }
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    begun = {"event": "run_started", "measure": "score", "sites": list(TASKS)}
    lines = [json.dumps({"time": 0.0, **event}) for event in (begun, *told)]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    return read_record(folder)


def own(site: str, number: int, score: float) -> dict[str, Any]:
    told = {"event": "evaluated", "split": "validation", "images": 8}
    return {**told, "round": number, "site": site, "score": score}


def of_group(stages: list[int], number: int, score: float | None) -> dict[str, Any]:
    told = {"event": "stage", "split": "validation", "sites": 2, "images": 16}
    return {**told, "round": number, "stages": stages, "score": score}


def mean(number: int, score: float) -> dict[str, Any]:
    told = {"event": "metrics", "model": "own", "split": "validation", "sites": 2, "images": 16}
    return {**told, "round": number, "score": score}


def test_a_task_is_told_after_each_stage_and_what_became_of_it_since_its_own(
    tmp_path: Path,
) -> None:
    told = [own("eye", 1, 0.8), own("ward", 1, -0.4), own("eye", 3, 0.7), own("ward", 3, 0.6)]
    stages = stages_of(record_of(tmp_path, TWICE[:2], told))
    assert stages is not None
    rows = {task.site: task for task in stages.tasks}
    assert rows["eye"].cells == ((0.8, True, True), (0.7, True, False))
    assert rows["ward"].cells == ((-0.4, False, False), (0.6, True, True))
    assert rows["eye"].kept == pytest.approx(-0.1)
    assert (rows["ward"].kept, rows["lab"].kept) == (None, None)
    assert "the largest loss or smallest gain is eye's, -10.0 points" in stages.meaning()
    assert [task.site for task in stages.tasks][:2] == ["eye", "lab"]  # by their stages


def test_of_sums_a_row_is_those_who_train_together(tmp_path: Path) -> None:
    told = [of_group([1, 3], 1, 0.8), of_group([2], 1, -0.4), mean(1, 0.8)]
    told += [of_group([1, 3], 3, 0.7), of_group([2], 3, 0.6), mean(3, 0.6)]
    told += [of_group([1, 3], 5, 0.9), of_group([2], 5, None), mean(5, 0.9)]
    stages = stages_of(record_of(tmp_path, TWICE, told))
    assert stages is not None
    assert stages.in_sums
    first, second = stages.tasks
    assert (first.site, first.kind) == ("stages 1 and 3", "segmentation")
    assert (second.site, second.kind) == ("stage 2", "regression")
    assert first.cells == ((0.8, True, True), (0.7, True, False), (0.9, True, True))
    assert second.cells == ((-0.4, False, False), (0.6, True, True), (None, True, False))
    assert stages.names == ("stage 1", "stage 2", "stage 3")


def test_sums_that_were_not_told_apart_are_no_stages(tmp_path: Path) -> None:
    assert stages_of(record_of(tmp_path, TWICE, [mean(1, 0.8)])) is None


def test_a_site_s_curve_begins_when_its_head_has_learned_something(tmp_path: Path) -> None:
    told = [own(site, number, 0.1 * number) for number in range(4) for site in ("eye", "ward")]
    record = record_of(tmp_path, TWICE[:2], told)
    assert first_rounds(record) == {"eye": 1, "lab": 1, "ward": 3, "skin": 3}
    _, scores = score_series(record)
    assert [number for number, _ in scores["eye"]] == [1, 2, 3, 4]
    assert [number for number, _ in scores["ward"]] == [3, 4]
