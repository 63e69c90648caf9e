"""The event stream outlives a crash: whole lines are read, and the next ones are not swallowed."""

from pathlib import Path

from fedefm.events import EventLog, read_events


def test_events_are_kept_in_order_and_handed_to_listeners(tmp_path: Path) -> None:
    heard: list[str] = []
    log = EventLog(tmp_path / "events.jsonl", (lambda event: heard.append(event["event"]),))
    log.emit("first", round=0)
    log.emit("second", round=1)
    log.close()

    assert [e["event"] for e in read_events(tmp_path / "events.jsonl")] == heard
    assert heard == ["first", "second"]


def test_a_line_cut_off_by_a_crash_costs_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"time": 1, "event": "round"}\n{"time": 2, "eve')
    log = EventLog(path)
    log.emit("run_started", resumed_from=1)
    log.close()

    assert [event["event"] for event in read_events(path)] == ["round", "run_started"]
