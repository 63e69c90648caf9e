"""Which compressed DICOM files can be read here, and silence from those who read them.

RLE needs nothing but pydicom; 8-bit JPEG and JPEG 2000 are read by Pillow. The extra ``dicom``
brings decoders for JPEG lossless, JPEG-LS, and signed and high-throughput JPEG 2000. 12-bit JPEG
(process 4) is read by pylibjpeg-libjpeg alone, whose license is the GPL: the extra ``dicom-gpl``.

GDCM ends the process on some corrupt JPEG and JPEG-LS files, so it is asked only where no other
decoder is installed, and ``fragile`` tells which files are better read by a process of their own.
What its libjpeg prints of damage within a frame cannot be kept silent. pylibjpeg-rle panics on
corrupt files and is not asked.
"""

import logging
import warnings

import pydicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from fedefm.data.limits import BOX, JPEG_2000_START, JPEG_START
from fedefm.data.unreadable import Unfit

try:
    import gdcm  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError:
    gdcm = None

SEVERAL_DECODERS = (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,  # of 8 bits; GDCM reads no others
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
STARTS = {  # of a compressed frame (PS3.5, A.4)
    **dict.fromkeys((*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes), (JPEG_START,)),
    **dict.fromkeys(JPEG2000TransferSyntaxes, (JPEG_2000_START, BOX)),
}
TWELVE_BITS = "pylibjpeg"  # the plugin's name in pydicom


def set_up() -> None:
    """Keep decoders silent, and prefer those that survive corrupt files."""
    _keep_silent()
    for syntax in SEVERAL_DECODERS:
        decoder = get_decoder(syntax)
        rough = "pylibjpeg" if syntax == RLELossless else "gdcm"
        if rough in decoder.available_plugins and len(decoder.available_plugins) > 1:
            decoder.remove_plugin(rough)


def fragile(syntax: UID | None) -> bool:
    """Whether a corrupt file of this syntax may take the process that decodes it down."""
    return syntax is not None and syntax.is_encapsulated and _plugins(syntax) == ("gdcm",)


def _keep_silent() -> None:
    """What pydicom and GDCM warn of quotes the attributes of patients."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    if gdcm is not None:
        gdcm.Trace.WarningOff()
        gdcm.Trace.ErrorOff()


def refuse_unknown_compression(syntax: UID, bits_stored: int) -> None:
    """Raises Unfit where no decoder for a transfer syntax is installed."""
    if not syntax.is_encapsulated:
        return
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:  # video, or a compression of the manufacturer's own
        raise Unfit(
            f"its compression ({_name(syntax)}) is not of single images; "
            "export it again without compression"
        ) from None
    if not decoder.is_available:
        raise Unfit(
            f"its compression ({_name(syntax)}) needs a decoder that is not installed; "
            "pip install 'fedefm[dicom]' may have it, or decompress the file (gdcmconv --raw)"
        )
    if syntax == JPEGExtended12Bit and bits_stored > 8 and TWELVE_BITS not in _plugins(syntax):
        raise Unfit(
            "its compression (JPEG of 12 bits) needs a decoder that is not installed; "
            "pip install 'fedefm[dicom-gpl]', or decompress the file"
        )


def refuse_other_compression(syntax: UID, frame: bytes) -> None:
    """Raises Unfit where a frame does not begin as its syntax asks: GDCM prints what it finds."""
    if syntax in STARTS and not frame.startswith(STARTS[syntax]):
        raise Unfit(
            f"a frame of it does not begin as its compression ({_name(syntax)}) does, so it is "
            "damaged"
        )


def _plugins(syntax: UID) -> tuple[str, ...]:
    try:
        return tuple(get_decoder(syntax).available_plugins)
    except NotImplementedError:
        return ()


def _name(syntax: UID) -> str:
    return syntax.name if syntax.is_transfer_syntax else "private"  # else a UID of the maker's own
