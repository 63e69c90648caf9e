"""What a watcher is told of a running job: the newest events, whole, and who is waited for."""

import json
from pathlib import Path

from nvflare_jobs.parties.standing import Standing
from nvflare_jobs.parties.telling_progress import MOST_BYTES, progress_after


def test_each_event_is_told_once_and_whole(tmp_path: Path) -> None:
    events, standing = tmp_path / "events.jsonl", Standing()
    assert progress_after(tmp_path, 0, standing, None)["events"] == ""  # nothing is written yet
    events.write_text('{"event": "a"}\n{"event": "b"}\n{"eve')
    first = progress_after(tmp_path, 0, standing, None)
    assert [json.loads(line)["event"] for line in first["events"].splitlines()] == ["a", "b"]
    events.write_text('{"event": "a"}\n{"event": "b"}\n{"event": "c"}\n')
    second = progress_after(tmp_path, first["next"], standing, None)
    assert second["events"] == '{"event": "c"}\n'
    assert progress_after(tmp_path, second["next"], standing, None)["events"] == ""


def test_a_long_run_is_told_in_parts(tmp_path: Path) -> None:
    line = json.dumps({"event": "round", "note": "x" * 900}) + "\n"
    (tmp_path / "events.jsonl").write_text(line * 500)
    offset, told, answers = 0, "", 0
    while (answer := progress_after(tmp_path, offset, Standing(), None))["events"]:
        assert len(answer["events"]) <= MOST_BYTES
        told, offset, answers = told + answer["events"], answer["next"], answers + 1
    assert told == line * 500
    assert answers > 1


def test_an_offset_that_is_none_reads_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"event": "a"}\n')
    for offset in (None, -5, "7", True, {"$": 1}):
        assert progress_after(tmp_path, offset, Standing(), None)["next"] == 15


def test_who_has_answered_and_who_refused_is_known_while_a_task_is_open() -> None:
    standing = Standing()
    standing.open("fedefm_ready", {}, ["b", "a"])
    standing.answered("a", {"refused": "no ledger"})
    told = standing.told()
    assert (told["awaited"], list(told["answered"]), told["refused"]) == (
        ["a", "b"], ["a"], {"a": "no ledger"},
    )  # fmt: skip
    standing.close()
    standing.open("fedefm_round", {"round": 3}, ["b"])
    told = standing.told()
    assert (told["round"], told["answered"], told["refused"]) == (3, {}, {"a": "no ledger"})


def test_an_event_longer_than_an_answer_holds_nothing_up(tmp_path: Path) -> None:
    long = json.dumps({"event": "corpora", "note": "x" * 2 * MOST_BYTES}) + "\n"
    (tmp_path / "events.jsonl").write_text(long + '{"event": "b"}\n')
    first = progress_after(tmp_path, 0, Standing(), None)
    assert first["events"] == long
    assert progress_after(tmp_path, first["next"], Standing(), None)["events"] == '{"event": "b"}\n'
