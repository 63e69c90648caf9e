"""Where a run's backbone starts: weights that every site has under one name, and that are equal.

A run file names the start; what the name means on disk stands in each site's own file. It must be
the same file everywhere, since what is not trained is never sent.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedefm.config import RunConfig, read_server, read_site
from fedefm.errors import ConfigError, ModelError
from fedefm.model.checkpoint import Tensors, fill, read_checkpoint
from fedefm.model.encoder import Encoder
from fedefm.model.foundation import FoundationModel
from fedefm.model.mae import MaskedAutoencoder
from fedefm.model.pretrained import fitted, translated
from fedefm.model.segmenter import Segmenter

_BACKBONE = "backbone."
Started = FoundationModel | MaskedAutoencoder | Segmenter | Encoder


@dataclass(frozen=True)
class StartingPoint:
    """The tensors of a checkpoint, its facts, and the SHA-256 of its file."""

    name: str
    tensors: Tensors
    facts: Mapping[str, str]
    sha256: str

    def load_into(self, model: Started) -> None:
        """Fill the backbone of ``model``; a head or decoder stays fresh.

        Takes a foundation model of ours, or public weights of the same architecture. Raises
        ModelError where it is of another one.
        """
        theirs, ours = self.facts.get("backbone"), model.info["backbone"]
        if theirs is not None and theirs != ours:
            raise ModelError(
                f"the start {self.name!r} is of backbone {theirs!r}, and model.backbone is "
                f"{ours!r}: set it to {theirs!r}, or name another start"
            )
        own = {
            n.removeprefix(_BACKBONE): t for n, t in self.tensors.items() if n.startswith(_BACKBONE)
        }
        tensors = own if theirs is not None else translated(self.tensors)
        fill(model.backbone, tensors, f"the start {self.name!r}", adapt=fitted)


def find_start(run: RunConfig, site_files: Mapping[str, Path]) -> StartingPoint | None:
    """The start that the run file names, None where it names none.

    Raises ConfigError where a site does not know the name or has another file under it.
    """
    name = run.model.start
    if name is None:
        return None
    paths = {
        site: file.parent / _named(name, f"the site file of {site!r}", read_site(file).starts)
        for site, file in site_files.items()
    }
    digests = {site: _sha256(path) for site, path in paths.items()}
    if len(set(digests.values())) != 1:
        told = ", ".join(f"{site}: {digest[:12]}" for site, digest in digests.items())
        raise ConfigError(
            f"the start {name!r} is not the same file at all sites (SHA-256 {told}); give each "
            "site the same one"
        )
    (first, digest), *_ = digests.items()
    return _read(name, paths[first], digest)


def find_server_start(name: str, server_file: Path) -> StartingPoint:
    """The start that the server alone has, and hands out. Raises ConfigError, ModelError."""
    starts = read_server(server_file).starts
    path = server_file.parent / _named(name, f"the server file {server_file}", starts)
    return _read(name, path, _sha256(path))


def _named(name: str, file: str, starts: Mapping[str, Path]) -> Path:
    """What ``file`` calls so. Raises ConfigError where it calls nothing so."""
    if name not in starts:
        known = ", ".join(sorted(starts)) or "none"
        raise ConfigError(
            f"model.start {name!r} is not in {file}, which knows {known}; its "
            f"owner can add it there: `starts: {{{name}: FILE.safetensors}}`"
        )
    return starts[name]


def _read(name: str, path: Path, digest: str) -> StartingPoint:
    tensors, facts = read_checkpoint(path)
    return StartingPoint(name, tensors, facts, digest)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise ModelError(
            f"start {path} cannot be read: {error.strerror}; mend the path under starts"
        ) from None
