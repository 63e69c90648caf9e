"""How long decoding and inference take, each by itself, and what one frame alone would wait for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedefm.data.readers import Gray, read_image
from fedefm.finetune.checkpoint import TrainedSegmenter
from fedefm.finetune.tiling import Mask, segment_large

_REPEATS = 40  # frames timed one by one
_AT_MOST = 4.0  # seconds for them; never fewer than three


@dataclass(frozen=True)
class Latency:
    """What prediction takes on this machine, in milliseconds and frames a second.

    ``one_frame_*`` is inference on a frame alone, from gray values to the mask at the frame's own
    size, ``batch_*`` the same for ``batch_size`` frames at once. Decoding is in neither of them.
    """

    device: str
    frames: int
    decode_ms_median: float
    one_frame_ms_median: float
    one_frame_ms_p95: float
    one_frame_timed: int
    batch_size: int
    batch_frames_per_s: float

    def sentence(self) -> str:
        """The figures for people."""
        return (
            f"on {self.device}: one frame in {self.one_frame_ms_median:.0f} ms (median), "
            f"{self.one_frame_ms_p95:.0f} ms (95th percentile of {self.one_frame_timed}); "
            f"{self.batch_frames_per_s:.1f} frames/s in batches of {self.batch_size}; "
            f"decoding, apart: {self.decode_ms_median:.1f} ms a frame"
        )


class Stopwatch:
    """Reads and segments frames, and keeps the times."""

    def __init__(self, segmenter: TrainedSegmenter, batch_size: int) -> None:
        self._segmenter, self._batch_size = segmenter, batch_size
        self._decode: list[float] = []
        self._one: list[float] = []
        self._batches: list[tuple[int, float]] = []

    def read(self, path: Path, frame: int) -> Gray:
        """``read_image``, timed."""
        start = time.perf_counter()
        image = read_image(path, frame)
        self._decode.append(time.perf_counter() - start)
        return image

    def segment(self, images: Sequence[Gray]) -> list[Mask]:
        """``segment_large``, timed; the frames of the first call are also timed one by one."""
        if not self._one:
            self._time_one_by_one(images)
        start = time.perf_counter()
        masks = segment_large(self._segmenter, images)
        self._batches.append((len(images), time.perf_counter() - start))
        return masks

    def latency(self) -> Latency | None:
        """What was measured; None before the first frame."""
        if not self._one:
            return None
        one = 1000 * np.array(self._one)
        frames, seconds = (sum(column) for column in zip(*self._batches, strict=True))
        return Latency(
            device=str(next(self._segmenter.model.parameters()).device),
            frames=int(frames),
            decode_ms_median=1000 * float(np.median(self._decode)),
            one_frame_ms_median=float(np.median(one)),
            one_frame_ms_p95=float(np.percentile(one, 95)),
            one_frame_timed=len(one),
            batch_size=min(self._batch_size, int(frames)),
            batch_frames_per_s=float(frames / seconds),
        )

    def _time_one_by_one(self, images: Sequence[Gray]) -> None:
        segment_large(self._segmenter, images[:1])  # the first pass allocates, and is no measure
        begun = time.perf_counter()
        for k in range(_REPEATS):
            start = time.perf_counter()
            segment_large(self._segmenter, [images[k % len(images)]])
            self._one.append(time.perf_counter() - start)
            if len(self._one) >= 3 and time.perf_counter() - begun > _AT_MOST:
                return
