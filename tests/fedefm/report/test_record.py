"""Reading a run folder: a resumed run counts each round once, and pauses are no run time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedefm.errors import DataError
from fedefm.report.record import read_record
from fedefm.report.sentences import traffic_meaning
from fedefm.report.tables import (
    reference_levels,
    score_series,
    sent_by_round,
    shared_at_sites,
    turn_statuses,
    undelivered_table,
)

Maker = Callable[..., Any]


def test_a_resumed_run_reads_like_an_uninterrupted_one(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=3, rounds=6)
    run.start()
    for number in range(4):
        run.tell_round(number)
    run.clock += 86_400
    run.start(resumed_from=2)
    for number in range(2, 6):
        run.tell_round(number)
    run.add("run_finished", status="finished", seconds=1.0)
    record = read_record(run.write(tmp_path, result=False))

    told = [(event["site"], event["round"]) for event in record.of("round")]
    assert sorted(told) == sorted((s, n) for s in run.sites for n in range(1, 7))
    assert len(sent_by_round(record)) == 6
    assert record.status == "finished"
    assert record.seconds < 3600


def test_a_run_that_was_started_again_and_not_finished_is_interrupted(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=2).tell()
    run.start(resumed_from=2)

    assert read_record(run.write(tmp_path)).status == "interrupted"


def test_sites_that_never_reported_are_missing_by_the_round_s_own_account(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=1)
    run.start()
    run.add("round_finished", round=0, participants=["Aachen"], missing={"Bern": "gone"}, seconds=1)
    statuses = turn_statuses(read_record(run.write(tmp_path)))

    assert statuses == {("Aachen", 1): "ok", ("Bern", 1): "absent"}


def test_own_corpora_level_is_the_mean_share_of_test_images_that_a_site_can_know(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=1)
    run.classes = ("a", "b", "c")
    run.holdings = lambda: {
        "Aachen": {"a": {"train": 5, "test": 60}, "b": {"train": 5, "test": 20}},
        "Bern": {"b": {"train": 0, "test": 10}, "c": {"train": 5, "test": 10}},
    }
    levels = dict(reference_levels(read_record(run.tell().write(tmp_path))))

    assert levels["guessing"] == pytest.approx(1 / 3)
    assert levels["knowing one site's corpora"] == pytest.approx((0.9 + 0.1) / 2)


def test_no_level_is_made_up_where_classes_are_not_corpora(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=1).tell()
    run.classes = ("benign", "malignant")
    names = [name for name, _ in reference_levels(read_record(run.write(tmp_path)))]

    assert names == ["guessing"]


def test_work_on_the_folder_after_the_run_is_no_run_time(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=2).tell()
    run.clock += 3600
    run.add("segmentation_evaluated", name="later", dice={}, cldice={}, iou={}, images=1)

    assert read_record(run.write(tmp_path)).seconds < 60


def test_curves_are_of_the_models_that_sites_hold_and_not_of_the_shared_one(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=3).tell()
    record = read_record(run.write(tmp_path))
    split, series = score_series(record)

    assert split == "validation"
    assert set(series) == {"Aachen", "Bern", "global"}
    assert [number for number, _ in series["Aachen"]] == [1, 2, 3]
    assert shared_at_sites(record) == {"Aachen": 0.71, "Bern": 0.71}


def test_traffic_counts_the_server_and_names_what_publishing_took(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=2)
    run.tell()
    run.add("server", round=0, sent_bytes=5_000_000)
    run.add("published", round=2, sent_bytes=7_000_000)
    record = read_record(run.write(tmp_path))
    by_round = sent_by_round(record)

    assert by_round[0] == (1, 5_620_000)
    assert "7.00 MB at the end" in traffic_meaning(record, 13e6, by_round).replace("\u00a0", " ")


def test_messages_that_did_not_arrive_are_named(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=2, rounds=1)
    run.start()
    run.add("round", round=0, site="Aachen", status="ok", unheard=["Bern"])
    run.add("rejected", round=1, site="Bern", reason="from Aachen: wrong round")

    assert undelivered_table(read_record(run.write(tmp_path))) == [
        ["Bern", "2", "from Aachen: wrong round"],
        ["Aachen", "1", "nothing usable came from Bern in time"],
    ]


@pytest.mark.parametrize("text", ["", "junk\n", '{"event": "round_finished"}\n', "[1]\n"])
def test_a_file_that_tells_of_no_run_is_refused(tmp_path, text):
    (tmp_path / "events.jsonl").write_text(text)
    with pytest.raises(DataError, match="tells of no run"):
        read_record(tmp_path)


def test_a_damaged_event_is_passed_over(tmp_path):
    started = '{"event": "run_started", "time": 1.0, "sites": ["a"], "rounds": 1}\n'
    (tmp_path / "events.jsonl").write_text(started + '{"event": "round_finished", "time": 2.0}\n')
    assert read_record(tmp_path).rounds_done == 0
