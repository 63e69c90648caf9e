"""A run of simulated frames: one patient breathes, the heart beats, a device is pushed in.

Frame ``number`` of a run is a pure function of ``(domain, seed, index, size, rate, number)``, and
of ``patient``: it does not depend on how many frames are drawn, nor in which order. Anatomy,
contrast agent and device are those of the still frame ``index``; noise is new in each frame. As on
a real system, one window, and for subtraction one mask exposure, serve the whole run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedefm.data.fluoroscopy import Frame, check_size, scene_of
from fedefm.data.xray_detector import Window, detect, display, expose, window_of
from fedefm.data.xray_motion import Rhythm, draw_rhythm
from fedefm.data.xray_raster import Float
from fedefm.data.xray_scene import Scene, attenuation, device_mask, later, mask_attenuation
from fedefm.errors import DataError
from fedefm.seeding import numpy_generator

FASTEST = 60.0  # frames a second


@dataclass(frozen=True)
class Sequence:
    """The run that starts from frame ``index`` of a domain, at ``rate`` frames a second.

    Raises DataError, when made, for what :func:`fedefm.data.fluoroscopy.simulate_frame` refuses and
    for a rate that is not above 0 and at most 60.
    """

    domain: str
    seed: int
    index: int
    size: int = 256
    patient: int | None = None
    rate: float = 15.0
    distractors: bool = False
    negatives: float | None = None

    def __post_init__(self) -> None:
        check_size(self.size)
        check_rate(self.rate)
        self._start  # noqa: B018  an impossible scene is refused here

    def frame(self, number: int) -> Frame:
        """Frame ``number``, counted from 0, with its mask."""
        if number < 0:
            raise DataError(f"frames of a sequence are numbered from 0; got {number}")
        live, scene = self._live(number)
        exposure = scene.patient.exposure
        shown = display(live, self._reference, exposure, self._window)
        return Frame(shown, device_mask(scene, self.size))

    def frames(self, count: int) -> Iterator[Frame]:
        """The first ``count`` frames in turn."""
        return (self.frame(number) for number in range(count))

    def moment(self, number: int) -> Scene:
        """What frame ``number`` shows, before it is drawn."""
        return later(self._start, self._rhythm, number / self.rate)

    @cached_property
    def _start(self) -> Scene:
        return scene_of(
            self.domain,
            self.seed,
            self.index,
            self.patient,
            distractors=self.distractors,
            negatives=self.negatives,
        )

    @cached_property
    def _rhythm(self) -> Rhythm:
        return draw_rhythm(self._start.domain.motion, self._stream("motion"))

    @cached_property
    def _reference(self) -> Float | None:
        """The exposure that is subtracted from every frame, taken as the run begins."""
        exposure = self._start.patient.exposure
        if not exposure.detector.subtracted:
            return None
        signal = expose(mask_attenuation(self.moment(0), self.size), exposure)
        return detect(signal, exposure, self._stream("mask noise"))

    @cached_property
    def _window(self) -> Window:
        return window_of(self._live(0)[0], self._reference, self._start.patient.exposure)

    def _live(self, number: int) -> tuple[Float, Scene]:
        scene = self.moment(number)
        exposure = scene.patient.exposure
        signal = expose(attenuation(scene, self.size), exposure)
        return detect(signal, exposure, self._stream("noise", number)), scene

    def _stream(self, *purpose: str | int) -> np.random.Generator:
        names = ("fluoroscopy", self.domain, "sequence", self.index, *purpose)
        return numpy_generator(self.seed, *names)


def check_rate(rate: float) -> None:
    """Raises DataError for what is no frame rate."""
    if not 0 < rate <= FASTEST:
        raise DataError(f"a frame rate is above 0 and at most {FASTEST:g} a second; got {rate}")
