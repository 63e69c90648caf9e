"""The complete state of a run on disk, so that a killed run goes on with the same numbers.

A state is what each party holds (weights, weight average, optimizer, teachers) after a finished
round. Random streams need no saving: each is a function of seed, site, round and purpose. A state
appears whole or not at all; the one before it is kept, too.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fedefm.model.checkpoint import write_tensors

PartyState = Mapping[str, Mapping[str, Tensor]]  # section -> name -> tensor
KEPT = 2
_SEPARATOR = "\x1f"  # no section or parameter name holds it


def save_state(folder: Path, finished_rounds: int, parties: Mapping[str, PartyState]) -> None:
    """Write the state after ``finished_rounds`` rounds; the two newest are kept.

    Raises OSError where it cannot be written; the states before it stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"round-{finished_rounds:06d}"
    unfinished = folder / f"{final.name}.{os.getpid()}.unfinished"
    unfinished.mkdir()
    try:
        for party, sections in parties.items():
            path = unfinished / f"{quote(party, safe='')}.safetensors"
            write_tensors(path, _flat(sections))
        if final.exists():
            shutil.rmtree(final)
        unfinished.replace(final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for old in _states(folder)[KEPT:]:
        shutil.rmtree(old)


def load_state(
    folder: Path, finished_rounds: int | None = None
) -> tuple[int, dict[str, dict[str, dict[str, Tensor]]]] | None:
    """``(rounds, parties)`` of the newest readable state, or of ``finished_rounds``; or None."""
    for path in _states(folder):
        rounds = int(path.name.removeprefix("round-"))
        if finished_rounds is not None and rounds != finished_rounds:
            continue
        try:
            return rounds, {unquote(f.stem): _read(f) for f in sorted(path.glob("*.safetensors"))}
        except (OSError, SafetensorError):
            continue  # damaged by something else than us; the one before is still there
    return None


def finished_rounds(folder: Path) -> list[int]:
    """How many rounds each saved state holds, newest first."""
    return [int(path.name.removeprefix("round-")) for path in _states(folder)]


def forget_after(folder: Path, finished_rounds: int) -> None:
    """Remove the states after more than ``finished_rounds`` rounds."""
    for path in _states(folder):
        if int(path.name.removeprefix("round-")) > finished_rounds:
            shutil.rmtree(path)


def _states(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if re.fullmatch(r"round-\d{6,}", path.name)]
    return sorted(found, reverse=True)


def _flat(sections: PartyState) -> dict[str, Tensor]:
    return {
        f"{section}{_SEPARATOR}{name}": tensor.contiguous().clone()
        for section, tensors in sections.items()
        for name, tensor in tensors.items()
    }


def _read(path: Path) -> dict[str, dict[str, Tensor]]:
    sections: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(path).items():
        section, name = key.split(_SEPARATOR, 1)
        sections.setdefault(section, {})[name] = tensor
    return sections
