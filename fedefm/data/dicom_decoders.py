"""Which compressed DICOM files can be read here, and silence from those who read them.

RLE needs nothing but pydicom; 8-bit JPEG and JPEG 2000 are read by Pillow. The extra ``dicom``
brings decoders for JPEG lossless, JPEG-LS, signed and high-throughput JPEG 2000, and faster RLE.
12-bit JPEG (process 4) is read by pylibjpeg-libjpeg alone, whose license is the GPL: the extra
``dicom-gpl``.
"""

import logging
import warnings

import pydicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEGExtended12Bit

from fedefm.data.unreadable import Unfit

try:
    import gdcm  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    gdcm = None

TWELVE_BITS = "pylibjpeg"  # the plugin's name in pydicom


def keep_silent() -> None:
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


def _plugins(syntax: UID) -> tuple[str, ...]:
    return tuple(get_decoder(syntax).available_plugins)


def _name(syntax: UID) -> str:
    return syntax.name if syntax.is_transfer_syntax else "private"  # else a UID of the maker's own
