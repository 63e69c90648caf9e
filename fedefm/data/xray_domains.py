"""The kinds of fluoroscopy that can be simulated, as frozen bundles of parameters.

They differ in anatomy, vessels, devices and detector. Near pairs are meant: ``cardiac`` and
``image_intensifier`` share their anatomy, as do ``animal``, ``low_dose`` and ``high_scatter``, and
``neuro_dsa`` and ``roadmap``; the detector tells them apart.
"""

import math
from dataclasses import dataclass, replace

from fedefm.data.xray_anatomy import Anatomy
from fedefm.data.xray_detector import Detector
from fedefm.data.xray_devices import Devices
from fedefm.data.xray_motion import Motion
from fedefm.data.xray_vessels import Vasculature
from fedefm.errors import DataError

BREATHING = Motion()


@dataclass(frozen=True)
class Domain:
    """One kind of fluoroscopy; ``negatives`` is the exact share of frames without a device."""

    name: str
    anatomy: Anatomy
    vessels: Vasculature
    devices: Devices
    detector: Detector
    motion: Motion = BREATHING
    negatives: float = 0.1


ABDOMEN = Anatomy(
    tissue=(0.1, 0.22), spine=(0.45, 0.8), ribs=(0.0, 0.12), rib_pairs=(3, 5), gas=(2, 8)
)
CHEST = Anatomy(
    tissue=(0.08, 0.16),
    texture=0.025,
    spine=(0.15, 0.4),
    spine_at=(0.6, 0.85),
    ribs=(0.06, 0.16),
    lungs=(0.6, 1.1),
    diaphragm=(0.2, 0.6),
    leads=(0, 2),
)
HEAD = Anatomy(tissue=(0.1, 0.2), texture=0.03, skull=(0.3, 0.5))

STILL = Motion(breath=(0.0, 0.0))
HELD = Motion(breath=(0.0002, 0.0006))  # subtraction needs breath to be held
HEARTBEAT = Motion(beat=(0.008, 0.02))

AORTA = Vasculature(trunk=(0.45, 0.6), radius=(0.018, 0.028), generations=3, opacified=0.25)
CORONARIES = Vasculature(
    entry_x=(0.35, 0.65),
    from_below=False,
    lean=0.25,
    trunk=(0.28, 0.42),
    radius=(0.010, 0.014),
    length=(0.26, 0.36),
    generations=4,
    tortuosity=0.5,
    opacified=0.5,
    opacity=(0.35, 0.9),
    trunk_filled=False,
)
CEREBRAL = Vasculature(
    entry_x=(0.4, 0.6),
    trunk=(0.3, 0.42),
    radius=(0.011, 0.016),
    length=(0.2, 0.28),
    generations=5,
    spread=(0.3, 0.95),
    tortuosity=0.7,
    opacified=0.6,
    opacity=(0.3, 0.7),
)

CARDIAC = Domain(
    "cardiac",
    CHEST,
    CORONARIES,
    Devices(
        wire_radius=(0.002, 0.0027), catheter=(0.28, 0.4), wire=(0.26, 0.4), protrusion=(0.3, 0.7)
    ),
    Detector(quanta=(1000, 2000), circle=(0.56, 0.66), correlation=(0.95, 1.15)),
    HEARTBEAT,
)
ANIMAL = Domain("animal", ABDOMEN, AORTA, Devices(), Detector())
NEURO = Domain(
    "neuro_dsa",
    HEAD,
    CEREBRAL,
    Devices(
        catheter_radius=(0.0032, 0.0045),
        catheter=(0.22, 0.36),
        wire=(0.4, 0.6),
        stiffness=(2.0, 4.0),
    ),
    Detector(
        scatter=(0.3, 0.7),
        quanta=(1500, 3500),
        subtracted=True,
        misregistration=(0.0005, 0.003),
        least_window=0.65,
        blades=(0.0, 0.03),
        sharpening=(0.2, 0.6),
    ),
    HELD,
)

DOMAINS: dict[str, Domain] = {
    domain.name: domain
    for domain in (
        Domain(
            "phantom",
            Anatomy(tissue=(0.03, 0.08), texture=0.004),
            Vasculature(
                radius=(0.025, 0.035),
                generations=2,
                spread=(0.4, 0.8),
                tortuosity=0.15,
                opacified=1.0,
                opacity=(0.1, 0.25),
                lumen=0.86,
            ),
            Devices(
                catheter_radius=(0.0042, 0.0056),
                wire_radius=(0.0024, 0.0032),
                catheter=(0.3, 0.4),
                wire=(0.22, 0.36),
            ),
            Detector(scatter=(0.4, 0.7), quanta=(1500, 4000), vignette=(0.1, 0.4)),
            STILL,
        ),
        ANIMAL,
        CARDIAC,
        NEURO,
        replace(
            ANIMAL,
            name="low_dose",
            detector=Detector(
                quanta=(60, 160), electronic=0.015, correlation=(0.7, 1.2), blades=(0.02, 0.14)
            ),
        ),
        replace(
            CARDIAC,
            name="image_intensifier",
            devices=Devices(catheter=(0.4, 0.55), wire=(0.45, 0.65), protrusion=(0.3, 0.7)),
            detector=Detector(
                scatter=(0.8, 1.3),
                blur=(0.5, 0.75),
                quanta=(400, 1000),
                vignette=(0.5, 0.9),
                circle=(0.44, 0.485),
                blades=(0.0, 0.0),
                sharpening=(0.0, 0.2),
            ),
        ),
        replace(
            ANIMAL,
            name="high_scatter",
            anatomy=replace(ABDOMEN, tissue=(0.2, 0.32), spine=(0.25, 0.5)),
            devices=Devices(catheter=(0.75, 0.95), wire=(0.75, 1.05)),
            detector=Detector(scatter=(1.6, 2.4), blur=(0.5, 0.75), quanta=(200, 500)),
        ),
        replace(
            NEURO,
            name="roadmap",
            vessels=replace(CEREBRAL, opacified=1.0),
            detector=replace(NEURO.detector, contrast_in_mask=True, quanta=(400, 1200)),
        ),
    )
}


def find_domain(name: str) -> Domain:
    """The bundle called ``name``; a :class:`DataError` names those that exist."""
    if name not in DOMAINS:
        raise DataError(f"fluoroscopy domain {name!r} is unknown; use one of {', '.join(DOMAINS)}")
    return DOMAINS[name]


def negatives_in(share: float, block: int) -> int:
    """How many of ``block`` frames have no device."""
    return math.floor(share * block + 0.5)
