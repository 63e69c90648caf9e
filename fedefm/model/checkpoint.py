"""Models on disk: safetensors with facts about the model in the header, written atomically."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fedefm.errors import ModelError

Tensors = dict[str, Tensor]
ENOUGH = 0.9  # share of a model's tensors that a checkpoint must fill


@dataclass(frozen=True)
class MatchReport:
    """Which tensors of a model a checkpoint filled, by name."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]  # in the model, not in the checkpoint
    unexpected: tuple[str, ...]  # in the checkpoint, not in the model
    mismatched: tuple[str, ...]  # in both, of different shapes

    @property
    def share(self) -> float:
        """Matched tensors over the model's tensors, in [0, 1]."""
        wanted = len(self.matched) + len(self.missing) + len(self.mismatched)
        return len(self.matched) / wanted if wanted else 1.0

    def __str__(self) -> str:
        wanted = len(self.matched) + len(self.missing) + len(self.mismatched)
        parts = [f"{len(self.matched)} of {wanted} tensors matched"]
        for word in ("missing", "unexpected", "mismatched"):
            names: tuple[str, ...] = getattr(self, word)
            if names:
                parts.append(f"{len(names)} {word} ({_first(names)})")
        return "; ".join(parts)


def save_checkpoint(path: Path, model: nn.Module, info: dict[str, str]) -> None:
    """Write the tensors of ``model`` and ``info``; a crash leaves the old file or none.

    Equal tensors and facts give equal files, so that a checksum tells whether a run was repeated.
    Raises OSError where the file cannot be written.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_tensors(unfinished, tensors, info)
        _sort_facts(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], info: dict[str, str] | None = None
) -> None:
    """A safetensors file. Raises OSError, which safetensors does not, say of a full disk."""
    try:
        save_file(dict(tensors), path, metadata=info)
    except SafetensorError as error:
        told = re.search(r"\(os error (\d+)\)", str(error))
        if told is None:
            raise
        number = int(told[1])
        raise OSError(number, os.strerror(number), str(path)) from None


def _sort_facts(path: Path) -> None:
    """Safetensors writes the facts in a random order; bring them into that of their names."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:  # always so; a file in another order is still a good one
            file.seek(8)
            file.write(text.ljust(size))


def read_checkpoint(path: Path) -> tuple[Tensors, dict[str, str]]:
    """All tensors of the file and its facts.

    Raises:
        ModelError: if the file is missing, damaged or no safetensors file.
    """
    with _opened(path) as file:
        names: list[str] = file.keys()
        return {name: file.get_tensor(name) for name in names}, _facts(file)


def read_checkpoint_info(path: Path) -> dict[str, str]:
    """The facts of a checkpoint; its tensors are not read. Raises as ``read_checkpoint``."""
    with _opened(path) as file:
        return _facts(file)


def load_checkpoint(path: Path, model: nn.Module, minimum: float = ENOUGH) -> MatchReport:
    """Fill ``model`` in place from a checkpoint and say what matched.

    Raises:
        ModelError: if the file cannot be read, or fills less than ``minimum`` of the model's
            tensors; the model is unchanged then.
    """
    return fill(model, read_checkpoint(path)[0], f"checkpoint {path}", minimum)


def fill(
    model: nn.Module,
    tensors: Tensors,
    what: str,
    minimum: float = ENOUGH,
    adapt: Callable[[str, Tensor, Tensor], Tensor] | None = None,
) -> MatchReport:
    """Write ``tensors`` into ``model`` where name and shape agree.

    Args:
        what: names the source in errors.
        adapt: called with name, tensor and target where only the shapes differ; may return a tensor
            that fits.

    Raises:
        ModelError: if less than ``minimum`` of the model's tensors would be filled.
    """
    own = model.state_dict()
    if adapt:
        shared = own.keys() & tensors.keys()
        tensors = tensors | {
            name: adapt(name, tensors[name], own[name])
            for name in shared
            if tensors[name].shape != own[name].shape
        }
    report = compare(own, tensors)
    if report.share < minimum:
        raise ModelError(f"{what} does not fit this model: {report}")
    with torch.no_grad():
        for name in report.matched:
            own[name].copy_(tensors[name])
    return report


def compare(own: Tensors, tensors: Tensors) -> MatchReport:
    """How the names and shapes of ``tensors`` fit those of a model."""
    shared = [name for name in own if name in tensors]
    fitting = {name for name in shared if own[name].shape == tensors[name].shape}
    return MatchReport(
        matched=tuple(name for name in shared if name in fitting),
        missing=tuple(name for name in own if name not in tensors),
        unexpected=tuple(name for name in tensors if name not in own),
        mismatched=tuple(name for name in shared if name not in fitting),
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist or is no file; check its path")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"checkpoint {path} is damaged or no safetensors file ({reason}); "
            "copy it again or train it anew"
        ) from None


def _facts(file: Any) -> dict[str, str]:
    return file.metadata() or {}


def _first(names: tuple[str, ...], limit: int = 4) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
