"""Models as ONNX, which many runtimes and devices read, and the proof that they are the same.

A converter that drops or approximates an operation gives a file that runs and is wrong. So what was
written is run by onnxruntime on images of several kinds and compared with PyTorch, and a file that
differs is not kept.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fedefm.data.dataset import standardize
from fedefm.errors import ModelError
from fedefm.finetune.evaluate import evaluation_mode
from fedefm.finetune.tracing import traced

TOLERANCE = 1e-4  # of the largest output, or of 1 where all are smaller
IMAGES, OUTPUT = "images", "output"


def refuse_without_onnx() -> None:
    """Raises ModelError, naming the extra, where ONNX cannot be written and checked."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"ONNX needs {error.name}, which is not installed; pip install 'fedefm[onnx]' brings it"
        ) from None


def save_onnx(path: Path, model: nn.Module, image_size: int, facts: Mapping[str, str]) -> float:
    """Write ``model`` as ONNX for batches ``(B, 1, S, S)`` of any B; the difference to PyTorch.

    The input is called ``images``, standardized to zero mean and unit deviation each, and the
    output ``output``. ``facts`` go into the file's metadata.

    Raises ModelError if the model cannot be written, or if what was written differs by more than
    ``TOLERANCE``; no file is left then.
    """
    refuse_without_onnx()
    try:
        with torch.inference_mode(False):
            _write(path, model, image_size, facts)
        difference = onnx_difference(path, model, image_size)
    except Exception as error:  # exporter and runtime raise whatever they trip over
        path.unlink(missing_ok=True)
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the model cannot be written as ONNX: {reason}") from None
    if not difference <= TOLERANCE:  # also where it is not a number
        path.unlink()
        raise ModelError(
            f"the model as ONNX differs from PyTorch by {difference:.1e}, more than "
            f"{TOLERANCE:.0e}; use the .pt2 program, which runs the same operations"
        )
    return difference


@torch.inference_mode()
def onnx_difference(path: Path, model: nn.Module, image_size: int) -> float:
    """The largest difference of an output between the ONNX file and ``model``.

    Relative to the largest output where that is above 1. Over images of noise and of structure, one
    at a time and all at once.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    device = next(model.parameters()).device
    images, found = _images(image_size), list[float]()
    with evaluation_mode(model):
        for batch in (images, images[:1]):
            wanted = model(batch.to(device)).cpu().numpy()
            given = session.run(None, {IMAGES: batch.numpy()})[0]
            if given.shape != wanted.shape:
                return float("inf")
            scale = max(1.0, float(np.abs(wanted).max()))
            found.append(float(np.abs(given - wanted).max()) / scale)
    return float(np.max(found))  # not a number where one of them is


def _write(path: Path, model: nn.Module, image_size: int, facts: Mapping[str, str]) -> None:
    with _silence():
        program = torch.onnx.export(
            traced(model, image_size),
            dynamo=True,
            input_names=[IMAGES],
            output_names=[OUTPUT],
            verbose=False,
        )
    if program is None:
        raise ModelError("the exporter gave no program")
    program.model.metadata_props.update(facts)
    program.save(path)


def _images(size: int) -> Tensor:
    """Noise, a ramp, thin bright lines, a checkerboard and an empty image, ``(5, 1, S, S)``."""
    noise = torch.rand(size, size, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, size).expand(size, size)
    lines = torch.zeros(size, size)
    lines[size // 3], lines[:, size // 2] = 1, 0.5
    board = ((torch.arange(size)[:, None] + torch.arange(size)) // 4 % 2).float()
    return standardize(torch.stack([noise, ramp, lines, board, torch.zeros(size, size)])[:, None])


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter tells its steps on every channel; whoever exports wants the outcome."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
