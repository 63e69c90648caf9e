"""TensorBoard gets the same numbers; a resumed run does not show a round twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedefm.errors import ConfigError
from fedefm.report import tensorboard
from fedefm.report.tensorboard import TensorBoard

Maker = Callable[..., Any]


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return [(scalar.step, scalar.value) for scalar in reader.Scalars(tag)]


def test_scalars_are_the_run_s_numbers_by_round(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=2, rounds=4).tell()
    events = run.events
    start = run.position("round_started", 2)
    first, second = TensorBoard(tmp_path), TensorBoard(tmp_path)
    for event in events[: start + 4]:
        first(event)
    first.close()
    for event in events[start:]:
        second(event)
    told = [(e["round"], e["accuracy"]) for e in events if e.get("site") == "global"]

    found = scalars(tmp_path, "accuracy/validation/global")
    assert [step for step, _ in found] == [0, 1, 2, 3]
    assert [value for _, value in found] == pytest.approx([v for _, v in told], rel=1e-6)


def test_nothing_is_written_before_the_first_round(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=2, rounds=4)
    run.start()
    listener = TensorBoard(tmp_path / "tensorboard")
    for event in run.events:
        listener(event)

    assert not (tmp_path / "tensorboard").exists()


def test_its_absence_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)

    with pytest.raises(ConfigError, match="pip install tensorboard"):
        tensorboard.TensorBoard(tmp_path)
