"""One moment before the X-ray: a patient, their breath, contrast agent and devices; at no size yet.

Anatomy, vessels and acquisition belong to the patient and come from the patient's random streams;
breath, contrast agent and devices come from the frame's.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fedefm.data.xray_anatomy import GRID, draw_anatomy, draw_leads
from fedefm.data.xray_detector import Exposure, set_up
from fedefm.data.xray_devices import Placement, place_devices
from fedefm.data.xray_domains import Domain
from fedefm.data.xray_raster import Float, Tube, path_lengths, resize
from fedefm.data.xray_vessels import Branch, grow_tree, routes
from fedefm.seeding import numpy_generator

# The patient is drawn a little larger than the frame, which leaves room to move.
_MARGIN = 0.03
_LARGEST_BREATH = 0.02
_LEAD_MU = 60.0  # attenuation per frame width of metal


@dataclass(frozen=True)
class Patient:
    """What all frames of one patient share."""

    background: Float
    tree: tuple[Branch, ...]
    leads: tuple[Tube, ...]
    exposure: Exposure


@dataclass(frozen=True)
class Scene:
    """``breath`` and ``motion`` (since the mask exposure, if there is one) are in frame widths."""

    domain: Domain
    patient: Patient
    breath: tuple[float, float]
    motion: tuple[float, float]
    opacity: float
    placement: Placement | None


def compose(domain: Domain, seed: int, index: int, patient: int | None, device: bool) -> Scene:
    """The scene of frame ``index``, with or without a device."""
    who = f"patient of frame {index}" if patient is None else f"patient {patient}"
    shared = _patient(domain, seed, who)
    rng = numpy_generator(seed, "fluoroscopy", domain.name, "frame", index)
    breath = rng.normal(0, (0.004, 0.008)).clip(-_LARGEST_BREATH, _LARGEST_BREATH)
    injected = rng.random() < domain.vessels.opacified
    far, angle = rng.uniform(*domain.detector.misregistration), rng.uniform(0, 2 * np.pi)
    opacity = rng.uniform(*domain.vessels.opacity)
    placement = None
    if device:
        roads = [road + breath.astype(np.float32) for road in routes(shared.tree)]
        placement = place_devices(domain.devices, roads, shared.exposure.view, rng)
    return Scene(
        domain,
        shared,
        breath=(float(breath[0]), float(breath[1])),
        motion=(far * np.cos(angle), far * np.sin(angle)),
        opacity=opacity if injected else 0.0,
        placement=placement,
    )


def attenuation(scene: Scene, size: int) -> Float:
    """What the live exposure passes through, (size, size)."""
    absorbed = _body(scene, size, (0.0, 0.0))
    if not scene.domain.detector.contrast_in_mask:
        absorbed = absorbed + _contrast_agent(scene, size)
    if scene.placement is not None:
        absorbed = absorbed + scene.placement.attenuation(size)
    return absorbed


def mask_attenuation(scene: Scene, size: int) -> Float:
    """What the exposure to be subtracted passed through: no devices, the patient elsewhere."""
    absorbed = _body(scene, size, scene.motion)
    if scene.domain.detector.contrast_in_mask:
        absorbed = absorbed + _contrast_agent(scene, size)
    return absorbed


def device_mask(scene: Scene, size: int) -> npt.NDArray[np.uint8]:
    """Labels (size, size) of the devices within the field of view."""
    if scene.placement is None:
        return np.zeros((size, size), np.uint8)
    open_field = scene.patient.exposure.view.aperture(size) > 0
    return scene.placement.mask(size) * open_field.astype(np.uint8)


def _body(scene: Scene, size: int, motion: tuple[float, float]) -> Float:
    """Tissue and leads, moved by breath and by ``motion``."""
    x, y = (_MARGIN - scene.breath[axis] - motion[axis] for axis in (0, 1))
    far = 1 - 2 * _MARGIN
    box = (x * GRID, y * GRID, (x + far) * GRID, (y + far) * GRID)
    shift = np.asarray(motion, np.float32)
    leads = [Tube(lead.points + shift, lead.radius) for lead in scene.patient.leads]
    metal = path_lengths(size, leads) * np.float32(_LEAD_MU)
    return np.asarray(resize(scene.patient.background, size, box) + metal, np.float32)


def _contrast_agent(scene: Scene, size: int) -> Float:
    """Iodine in the vessels, or the walls of a phantom's tubes; 0 where none is injected."""
    if scene.opacity == 0:
        return np.zeros((size, size), np.float32)
    vessels, tree = scene.domain.vessels, scene.patient.tree
    shown = tree if vessels.trunk_filled else tree[1:]
    shift = np.asarray(scene.breath, np.float32)
    tubes = [Tube(branch.tube.points + shift, branch.tube.radius) for branch in shown]
    thickest = 2 * float(shown[0].tube.radius[0]) * (1 - vessels.lumen)
    lengths = path_lengths(size, tubes, vessels.lumen)
    return np.asarray(lengths * np.float32(scene.opacity / thickest), np.float32)


@lru_cache(maxsize=4)
def _patient(domain: Domain, seed: int, who: str) -> Patient:
    """Cached, as it costs half a frame and consecutive frames mostly share it."""
    names = ("fluoroscopy", domain.name, who)
    body = numpy_generator(seed, *names, "anatomy")
    background = draw_anatomy(domain.anatomy, body)
    background.setflags(write=False)
    return Patient(
        background,
        grow_tree(domain.vessels, numpy_generator(seed, *names, "vessels")),
        draw_leads(domain.anatomy, body),
        set_up(domain.detector, numpy_generator(seed, *names, "detector")),
    )
