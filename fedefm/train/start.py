"""Where a run's backbone starts: weights that every site has under one name, and that are equal.

A run file names the start; what the name means on disk stands in each site's own file. It must be
the same file everywhere, since what is not trained is never sent.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedefm.config import RunConfig, read_site
from fedefm.errors import ConfigError, ModelError
from fedefm.model.checkpoint import Tensors, fill, read_checkpoint
from fedefm.model.foundation import FoundationModel
from fedefm.model.mae import MaskedAutoencoder
from fedefm.model.pretrained import fitted, translated

_BACKBONE = "backbone."


@dataclass(frozen=True)
class StartingPoint:
    """The tensors of a checkpoint, its facts, and the SHA-256 of its file."""

    name: str
    tensors: Tensors
    facts: Mapping[str, str]
    sha256: str

    def load_into(self, model: FoundationModel | MaskedAutoencoder) -> None:
        """Fill the backbone of ``model``; a head or decoder stays fresh.

        Takes a foundation model of ours, or public weights of the same architecture. Raises
        ModelError where it is of another one.
        """
        theirs, ours = self.facts.get("backbone"), model.info["backbone"]
        if theirs is not None and theirs != ours:
            raise ModelError(
                f"the start {self.name!r} is of backbone {theirs!r} and model.backbone is {ours!r}"
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
    paths = {site: _path(name, site, file) for site, file in site_files.items()}
    digests = {site: _sha256(path) for site, path in paths.items()}
    if len(set(digests.values())) != 1:
        told = ", ".join(f"{site}: {digest[:12]}" for site, digest in digests.items())
        raise ConfigError(
            f"the start {name!r} is not the same file at all sites (SHA-256 {told}); give each "
            "site the same one"
        )
    (first, digest), *_ = digests.items()
    tensors, facts = read_checkpoint(paths[first])
    return StartingPoint(name, tensors, facts, digest)


def _path(name: str, site: str, site_file: Path) -> Path:
    starts = read_site(site_file).starts
    if name not in starts:
        known = ", ".join(sorted(starts)) or "none"
        raise ConfigError(
            f"model.start {name!r} is not in the site file of {site!r}, which knows {known}; its "
            f"owner can add it there: `starts: {{{name}: FILE.safetensors}}`"
        )
    return site_file.parent / starts[name]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise ModelError(f"start {path} cannot be read: {error.strerror}") from None
