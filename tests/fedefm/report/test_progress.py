"""The progress display: a live table on a terminal, plain lines elsewhere."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from fedefm.events import EventLog
from fedefm.report.progress import LiveProgress, PlainProgress, progress

Maker = Callable[..., Any]


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=110, legacy_windows=False)


def text(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue().replace("\u00a0", " ")


def test_a_pipe_gets_one_plain_line_a_round(example_run: Maker) -> None:
    run = example_run(sites=3, rounds=4)
    run.missing["Bern", 1] = ("late", "no answer within 120 s")
    shown = console(terminal=False)
    with progress(shown) as listener:
        for event in run.tell().events:
            listener(event)
    head, *lines, end = text(shown).splitlines()

    assert head == "example: 3 sites, 4 rounds"
    assert [line[:9] for line in lines] == [f"round {n}/4" for n in (1, 2, 3, 4)]
    assert "without Bern (no answer within 120 s)" in lines[1]
    assert "accuracy" in lines[3]
    assert "%" in lines[3]
    assert end == "finished; wall time of its rounds: 5.6 s"
    assert "\x1b" not in text(shown)


def test_a_terminal_shows_every_site_and_the_time_left(example_run: Maker) -> None:
    run = example_run(sites=3, rounds=4)
    run.missing["Cambridge", 0] = ("failed", "out of memory")
    run.start()
    run.tell_round(0)
    run.add("round_started", round=1)
    run.sites[0] = "[bold]odd[/]"
    run.tell_site(1, 0.5, 0, "[bold]odd[/]")
    shown = console(terminal=True)
    with progress(shown) as listener:
        for event in run.events:
            listener(event)
    last = text(shown)[text(shown).rindex("waiting") :]

    for word in (
        "Aachen",
        "Bern",
        "Cambridge",
        "[bold]odd[/]",
        "ok",
        "shared model:",
        "1/4",
        "left",
    ):
        assert word in last


@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_private_run_will_cost_is_said_before_it_is_spent(terminal: bool) -> None:
    planned = {
        "event": "privacy_planned", "site": "[north]", "epsilon": 2.994, "delta": 1e-5, "units": 40,
        "unit": "patient", "adjacency": "replace_one", "steps": 120, "noise_multiplier": 1.5,
        "sampling_rate": 0.25, "costs": {"step": 0.5, "round": 1.25, "guest": 0.75},
    }  # fmt: skip
    shown = console(terminal)
    with progress(shown) as listener:
        listener(planned)
    said = " ".join(text(shown).split())
    for word in ("[north]: epsilon 3.00", "40 patients", "replace one", "120 steps", "1.5", "0.25",
                 "step costs 0.50", "round 1.25", "neighbor adds 0.75"):  # fmt: skip
        assert word in said


def test_each_console_gets_the_display_that_fits() -> None:
    assert isinstance(progress(console(terminal=True)), LiveProgress)
    assert isinstance(progress(console(terminal=False)), PlainProgress)


@pytest.mark.parametrize("terminal", [True, False])
def test_it_listens_to_an_event_log_and_lets_a_crash_through(terminal: bool) -> None:
    def run() -> None:
        with progress(console(terminal)) as listener:
            log = EventLog(None, (listener,))
            log.emit("run_started", name="r", sites=["a"], rounds=9, resumed_from=3, new="ignored")
            log.emit("something_else", round=1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
