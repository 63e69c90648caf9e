"""One moment before the X-ray: a patient, their breath, contrast agent and devices; at no size yet.

Anatomy, vessels, distractors and acquisition belong to the patient and come from the patient's
random streams; breath, contrast agent and devices come from the frame's. A run of frames is one
such scene, in which time passes.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fedefm.data.xray_anatomy import GRID, draw_anatomy, draw_leads
from fedefm.data.xray_detector import Exposure, set_up
from fedefm.data.xray_devices import Insertion, Placement, insert_devices
from fedefm.data.xray_distractors import Metal, draw_distractors
from fedefm.data.xray_domains import Domain
from fedefm.data.xray_motion import Rhythm, contracted, contracted_image
from fedefm.data.xray_raster import Float, Tube, path_lengths, resize
from fedefm.data.xray_vessels import Branch, grow_tree, routes
from fedefm.seeding import numpy_generator

# The patient is drawn a little larger than the frame, which leaves room to move.
_MARGIN = 0.03
_LARGEST_BREATH = 0.02
RUN = 4.0  # seconds until the devices of a run are fully in
_LEAD_MU = 60.0  # attenuation per frame width of metal


@dataclass(frozen=True)
class Patient:
    """What all frames of one patient share."""

    background: Float
    tree: tuple[Branch, ...]
    leads: tuple[Tube, ...]
    exposure: Exposure
    distractors: tuple[Metal, ...] = ()


@dataclass(frozen=True)
class Scene:
    """``breath`` and ``motion`` (since the mask exposure, if there is one) are in frame widths.

    ``squeeze`` is how far the heart has contracted; ``placement`` is where ``insertion`` lies now.
    """

    domain: Domain
    patient: Patient
    breath: tuple[float, float]
    motion: tuple[float, float]
    opacity: float
    placement: Placement | None
    insertion: Insertion | None = None
    squeeze: float = 0.0


def compose(
    domain: Domain, seed: int, index: int, patient: int | None, device: bool, distractors: bool
) -> Scene:
    """The scene of frame ``index``, with or without a device and distractors."""
    who = f"patient of frame {index}" if patient is None else f"patient {patient}"
    shared = _patient(domain, seed, who, distractors)
    rng = numpy_generator(seed, "fluoroscopy", domain.name, "frame", index)
    breath = rng.normal(0, (0.004, 0.008)).clip(-_LARGEST_BREATH, _LARGEST_BREATH)
    injected = rng.random() < domain.vessels.opacified
    far, angle = rng.uniform(*domain.detector.misregistration), rng.uniform(0, 2 * np.pi)
    opacity = rng.uniform(*domain.vessels.opacity)
    insertion = None
    if device:
        roads = [road + breath.astype(np.float32) for road in routes(shared.tree)]
        insertion = insert_devices(domain.devices, roads, shared.exposure.view, rng)
    return Scene(
        domain,
        shared,
        breath=(float(breath[0]), float(breath[1])),
        motion=(far * np.cos(angle), far * np.sin(angle)),
        opacity=opacity if injected else 0.0,
        placement=None if insertion is None else insertion.placed(),
        insertion=insertion,
    )


def later(start: Scene, rhythm: Rhythm, seconds: float) -> Scene:
    """The scene ``seconds`` into a run that began with ``start``.

    The devices begin pulled back by as much as the hand advances in ``RUN`` seconds.
    """
    x, y = rhythm.shift(seconds)
    squeeze = rhythm.squeeze(seconds)
    moved = replace(start, breath=(start.breath[0] + x, start.breath[1] + y), squeeze=squeeze)
    if start.insertion is None:
        return moved
    withdrawn = rhythm.advance * max(RUN - seconds, 0.0)
    placement = start.insertion.placed(withdrawn).moved((x, y), squeeze)
    return replace(moved, placement=placement)


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
    tissue = contracted_image(scene.patient.background, scene.squeeze, _MARGIN)
    shift = np.asarray(motion, np.float32)
    leads = [Tube(lead.points + shift, lead.radius) for lead in scene.patient.leads]
    absorbed = resize(tissue, size, box) + path_lengths(size, leads) * np.float32(_LEAD_MU)
    inside = (scene.breath[0] + motion[0], scene.breath[1] + motion[1])
    for metal in scene.patient.distractors:
        absorbed = absorbed + metal.attenuation(size, inside)
    return np.asarray(absorbed, np.float32)


def _contrast_agent(scene: Scene, size: int) -> Float:
    """Iodine in the vessels, or the walls of a phantom's tubes; 0 where none is injected."""
    if scene.opacity == 0:
        return np.zeros((size, size), np.float32)
    vessels, tree = scene.domain.vessels, scene.patient.tree
    shown = tree if vessels.trunk_filled else tree[1:]
    shift = np.asarray(scene.breath, np.float32)
    tubes = [
        Tube(contracted(branch.tube.points, scene.squeeze) + shift, branch.tube.radius)
        for branch in shown
    ]
    thickest = 2 * float(shown[0].tube.radius[0]) * (1 - vessels.lumen)
    lengths = path_lengths(size, tubes, vessels.lumen)
    return np.asarray(lengths * np.float32(scene.opacity / thickest), np.float32)


@lru_cache(maxsize=4)
def _patient(domain: Domain, seed: int, who: str, distractors: bool) -> Patient:
    """Cached, as it costs half a frame and consecutive frames mostly share it."""
    names = ("fluoroscopy", domain.name, who)
    body = numpy_generator(seed, *names, "anatomy")
    background = draw_anatomy(domain.anatomy, body)
    background.setflags(write=False)
    metal = numpy_generator(seed, *names, "distractors")
    return Patient(
        background,
        grow_tree(domain.vessels, numpy_generator(seed, *names, "vessels")),
        draw_leads(domain.anatomy, body),
        set_up(domain.detector, numpy_generator(seed, *names, "detector")),
        draw_distractors(domain.anatomy.lungs[1] > 0, metal) if distractors else (),
    )
