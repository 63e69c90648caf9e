"""Guide3D: guidewires in a phantom by two cameras, polylines in ``raw.json``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedefm.data.found import Found
from fedefm.data.public_sets.drawing import Lines, points_of
from fedefm.data.public_sets.layout import About, Layout, has
from fedefm.data.public_sets.tables import inside, read_json
from fedefm.errors import DataError

TABLE = "raw.json"
CAMERAS = ("cameraA", "cameraB")
WIDTH = 2  # pixels at 1024, as the set's own code draws it
NOTE = "Guide3D is one phantom: its videos stand for patients, both cameras of one together"


def find(source: Path) -> list[Found]:
    """Raises DataError where ``raw.json`` has another form, or names what is not there."""
    table = source / TABLE
    videos = read_json(table)
    if not (isinstance(videos, list) and all(isinstance(video, dict) for video in videos)):
        raise DataError(f"{table} is not a list of videos")
    found = [item for video in videos for item in _video(video, source)]
    if len({item.image for item in found}) < len(found):
        raise DataError(f"{table} lists an image twice")
    return found


def _video(video: dict[str, Any], source: Path) -> Iterator[Found]:
    table = source / TABLE
    task, frames = video.get("task"), video.get("frames")
    if not (isinstance(task, str) and isinstance(frames, list)):
        raise DataError(f"{table} has a video without a task or frames")
    for frame in frames:
        views = [frame.get(camera) for camera in CAMERAS] if isinstance(frame, dict) else []
        for view in views or [None]:
            if not isinstance(view, dict):
                raise DataError(f"{table} has a frame without cameraA and cameraB")
            image = inside(source, str(view.get("image", "")), f"a frame in {table}")
            wire = points_of(view.get("points"), f"a guidewire in {table}")
            drawn = Lines(image, (wire,), WIDTH, WIDTH)
            yield Found(image, f"guide3d/{task}", "guide3d", drawn=drawn, note=NOTE)


LAYOUT = Layout(
    lambda source: has(TABLE)(source) and any(source.glob("*/000.png")),
    find,
    about=About(
        "8,746 frames of guidewires in a phantom, seen by two cameras at once; put raw.json, which "
        "comes with its code, beside the folders of frames",
        "https://airvlab.github.io/guide3d",
        "not stated where we looked",
        "1 = guidewire, drawn from its polyline",
    ),
)
