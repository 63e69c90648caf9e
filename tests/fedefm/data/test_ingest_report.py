"""Frames of a file are told in runs."""

from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.ingest_report import Line, span


def test_runs_of_frames_are_drawn_together() -> None:
    assert span([0, 1, 2, 4, 7, 8]) == "0-2 4 7-8"


@given(frames=st.sets(st.integers(0, 40)).map(sorted))
def test_a_line_knows_how_many_frames_it_names(frames: list[int]) -> None:
    line = Line(1, span(frames), "left out", "it is broken")
    assert line.frame_count == len(frames)
