"""Makes ``import torchvision`` work next to a CPU-only torch, where it dies otherwise.

PyPI carries torchvision as a CUDA build only. Beside a CPU torch its compiled library cannot be
loaded, and its Python side then stops at ``operator torchvision::nms does not exist``; timm and
segmentation-models-pytorch import it. Declaring the two schemas it asks for is enough for all that
this project uses (the operators themselves stay unusable). An installation whose library loads is
left alone, and torchvision itself is not imported here: that takes two seconds.
"""

import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder

import torch

_MISSING = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[
    torch.library.Library
] = []  # a library's schemas live as long as the library object


def repair_torchvision() -> bool:
    """Declare the missing operators if torchvision's library cannot load; True if that was done."""
    if _declared or "torchvision" in sys.modules or _operators_present():
        return False
    folder = _installed_folder()
    if folder is None or _library_loads(folder):
        return False
    _forget_half_imported()
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + _MISSING)
    _declared.append(library)
    return True


def _operators_present() -> bool:
    return hasattr(torch.ops.torchvision, "nms")


def _installed_folder() -> str | None:
    spec = importlib.util.find_spec("torchvision")
    folders = list(spec.submodule_search_locations or []) if spec else []
    return folders[0] if folders else None


def _library_loads(folder: str) -> bool:
    """What torchvision does first when imported; it loads the same file again later, at no cost."""
    found = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("_C")
    if found is None or found.origin is None:
        return False
    try:
        torch.ops.load_library(found.origin)
    except OSError:
        return False
    return _operators_present()


def _forget_half_imported() -> None:
    """A failed import leaves submodules behind, and a second one would trip over them."""
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]
