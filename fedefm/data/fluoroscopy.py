"""Simulated X-ray fluoroscopy with exact masks of catheter and guidewire.

A frame is a pure function of ``(domain, seed, index, size)``, and of ``patient`` where frames share
one: anatomy, vessels and acquisition belong to the patient; breath, contrast agent, devices and
noise to the frame. The projection model is that of DeepDRR (Unberath et al., MICCAI 2018) on drawn
instead of scanned anatomy; device widths, contrasts, noise and gray levels are those measured on
real angiograms (``tests/benchmarks/simulator.py`` measures both alike).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedefm.data.xray_detector import detect, display, expose
from fedefm.data.xray_devices import CATHETER, GUIDEWIRE
from fedefm.data.xray_domains import DOMAINS, Domain, find_domain, negatives_in
from fedefm.data.xray_raster import Float
from fedefm.data.xray_scene import Scene, attenuation, compose, device_mask, mask_attenuation
from fedefm.errors import DataError
from fedefm.seeding import numpy_generator

__all__ = ["CATHETER", "DOMAINS", "GUIDEWIRE", "Domain", "Frame", "is_negative", "simulate_frame"]

# Of each run of so many consecutive indices, the domain's exact share has no device.
BLOCK = 20
SMALLEST = 32


@dataclass(frozen=True)
class Frame:
    """``image`` (H, W) float32 in [0, 1]; ``mask`` (H, W) uint8: 1 catheter, 2 guidewire."""

    image: Float
    mask: npt.NDArray[np.uint8]


def simulate_frame(
    domain: str,
    seed: int,
    index: int,
    size: int = 256,
    patient: int | None = None,
    *,
    distractors: bool = False,
    negatives: float | None = None,
) -> Frame:
    """Frame ``index`` of a domain, with its mask.

    Frames with the same ``patient`` share anatomy and acquisition; without one, every frame is its
    own patient. The scene is the same at every size. A frame that is not :func:`is_negative` always
    shows a device. ``distractors`` adds wires, clips, electrodes and leads, which no mask labels.
    Raises DataError for an unknown domain, a negative index, a size below 32, or a share of
    ``negatives`` outside of 0 to 1.
    """
    check_size(size)
    scene = scene_of(domain, seed, index, patient, distractors=distractors, negatives=negatives)
    exposure = scene.patient.exposure
    noise = numpy_generator(seed, "fluoroscopy", domain, "noise", index)
    live = detect(expose(attenuation(scene, size), exposure), exposure, noise)
    reference = None
    if exposure.detector.subtracted:
        reference = detect(expose(mask_attenuation(scene, size), exposure), exposure, noise)
    return Frame(display(live, reference, exposure), device_mask(scene, size))


def scene_of(
    domain: str,
    seed: int,
    index: int,
    patient: int | None = None,
    *,
    distractors: bool = False,
    negatives: float | None = None,
) -> Scene:
    """What frame ``index`` shows, before it is drawn at a size."""
    settings = find_domain(domain)
    if index < 0:
        raise DataError(f"simulated frames are numbered from 0; got index {index}")
    device = not is_negative(domain, seed, index, negatives)
    return compose(settings, seed, index, patient, device, distractors)


def is_negative(domain: str, seed: int, index: int, negatives: float | None = None) -> bool:
    """Whether frame ``index`` has no device: an exact share of every 20 consecutive indices.

    The share is ``negatives``, to the nearest twentieth, or else the domain's own.
    """
    share = find_domain(domain).negatives if negatives is None else negatives
    if not 0 <= share <= 1:
        raise DataError(f"the share of frames without a device is from 0 to 1; got {share}")
    block, place = divmod(index, BLOCK)
    order = numpy_generator(seed, "fluoroscopy", domain, "negatives", block).permutation(BLOCK)
    return bool(order[place] < negatives_in(share, BLOCK))


def check_size(size: int) -> None:
    """Raises DataError for a frame that is too small to show a device."""
    if size < SMALLEST:
        raise DataError(f"a simulated frame is at least {SMALLEST} px wide; got size {size}")
