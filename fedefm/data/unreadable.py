"""Why an image file cannot be used, said without quoting what is in it.

Decoders quote file names and header values in what they raise, and both can hold a patient's name.
So a reason is a sentence of ours (``Unfit``), or no more than the kind of the decoder's error;
``fedefm --debug`` shows that error itself.
"""

from pathlib import Path

from PIL import Image

from fedefm.errors import DataError


class Unfit(ValueError):
    """A reason in words of our own, which hold neither a file's name nor a header's values."""


class UnreadableImage(DataError):
    """A file that cannot be used as an image. ``reason`` does not name it, the message does."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["UnreadableImage"], tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # between processes


def unreadable(path: Path, error: Exception) -> UnreadableImage:
    """What a user is told of an error that a decoder raised."""
    reason = str(error) if isinstance(error, Unfit) else _kind(error)
    return UnreadableImage(path, f"cannot be read as an image: {reason}")


def _kind(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "it may not be opened by this account"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, Image.DecompressionBombError):
        return "it has far more pixels than an image of the body"
    return f"it is damaged, cut off, or not what its name says ({type(error).__name__})"
