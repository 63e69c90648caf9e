"""One SEG as highdicom makes it: what its segments are, and what found them.

highdicom is an extra, and is imported only where it is needed.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from fedefm.errors import DataError
from fedefm.finetune.overlay import COLORS
from fedefm.finetune.tiling import Mask
from fedefm.predict.dicom_codes import coded

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

MANUFACTURER = "FedEFM"
FIRST_SERIES = 9000  # above the numbers that modalities give


@dataclass(frozen=True)
class Algorithm:
    """What the segments were found with, as the SEG will say."""

    name: str
    version: str
    sha256: str  # of the checkpoint

    @property
    def short(self) -> str:
        """The beginning of the hash."""
        return f"sha256:{self.sha256[:16]}"


def refuse_without_highdicom() -> None:
    """Raises DataError, naming the extra, where highdicom is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise DataError(
            "no DICOM SEG was written: highdicom is not installed; "
            "pip install 'fedefm[dicom]' brings it"
        ) from None


def made_of(
    sources: Sequence[Dataset],
    masks: Mask,
    classes: tuple[str, ...],
    algorithm: Algorithm,
    number: int,
    omit_empty_frames: bool,
) -> Dataset:
    """The SEG of ``masks`` (frames, H, W), one for each frame of the sources, or of one still.

    Raises what highdicom raises where the sources lack what it needs.
    """
    from highdicom.seg import Segmentation

    devices = ", ".join(classes[1:])
    with _unheard():
        return Segmentation(
            source_images=sources,
            pixel_array=masks,
            segmentation_type="BINARY",
            segment_descriptions=_segments(classes, algorithm),
            series_instance_uid=generate_uid(prefix=None),
            series_number=FIRST_SERIES + number,
            sop_instance_uid=generate_uid(prefix=None),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=algorithm.name[:64],
            software_versions=algorithm.version[:64],
            device_serial_number=algorithm.short,
            content_label="SEGMENTATION",
            content_description=f"Found by a model: {devices}"[:64],
            series_description=f"{MANUFACTURER}: {devices}"[:64],
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=omit_empty_frames,
            specific_character_set="ISO_IR 192",  # class names may be in any script
        )


@contextmanager
def _unheard() -> Iterator[None]:
    """Without what highdicom tells: it logs UIDs, and quotes a patient's name to call it odd."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _segments(classes: tuple[str, ...], algorithm: Algorithm) -> list["SegmentDescription"]:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    identification = AlgorithmIdentificationSequence(
        name=algorithm.name[:64],
        version=algorithm.version[:64],
        family=codes.cid7162.ArtificialIntelligence,
        source=MANUFACTURER,
        parameters={"checkpoint": f"sha256:{algorithm.sha256}"},
    )
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=coded(name)[0],
            segmented_property_type=coded(name)[1],
            algorithm_type="AUTOMATIC",
            algorithm_identification=identification,
            display_color=CIELabColor.from_rgb(*COLORS[(number - 1) % len(COLORS)]),
        )
        for number, name in enumerate(classes[1:], start=1)
    ]
