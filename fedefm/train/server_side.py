"""What a server needs of its own in a run: where the model starts, and images to curate with.

Both are named by the run file and found in the server file. The server has no labels, and whatever
images it is given are checked for that.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from fedefm.config import CurationConfig, RunConfig, ServerConfig, read_server
from fedefm.config.names import UNLABELED
from fedefm.data.dataset import FrameDataset
from fedefm.data.manifest import read_manifest
from fedefm.data.unlabeled import refuse_labels
from fedefm.errors import ConfigError, DataError
from fedefm.model.encoder import build_encoder
from fedefm.seeding import generator_for
from fedefm.train.curation import Curator
from fedefm.train.start import StartingPoint, find_server_start


@dataclass(frozen=True)
class ServerSide:
    """What the server brings to a run; nothing, for most runs."""

    start: StartingPoint | None = None
    curator: Curator | None = None


def find_server_side(run: RunConfig, server_file: Path) -> ServerSide:
    """What ``run`` wants of the server. ``server_file`` need not exist where it wants nothing.

    Raises ConfigError where the server file lacks it, ModelError for a start that does not fit, and
    DataError for images with labels, or too few of them.
    """
    if run.stagewise is None:
        return ServerSide()
    curation = run.stagewise.curation
    if run.model.start is None and curation is None:
        return ServerSide()
    if not server_file.is_file():
        wanted = "model.start" if curation is None else "stagewise.curation"
        raise ConfigError(
            f"{wanted} is something of the server's own, and there is no {server_file}; write one "
            "that names it"
        )
    own = read_server(server_file)
    start = None if run.model.start is None else find_server_start(run.model.start, server_file)
    curator = None if curation is None else _curator(run, curation, own, server_file)
    return ServerSide(start, curator)


def _curator(
    run: RunConfig, curation: CurationConfig, own: ServerConfig, server_file: Path
) -> Curator:
    name, size = curation.dataset, run.model.image_size
    if name not in own.datasets:
        known = ", ".join(sorted(own.datasets)) or "none"
        raise ConfigError(
            f"dataset {name!r} is not in {server_file}, which knows {known}; its owner can add it "
            f"there: `datasets: {{{name}: FOLDER/manifest.csv}}`"
        )
    manifest = read_manifest(server_file.parent / own.datasets[name])
    refuse_labels(manifest, f"dataset {name!r} of the server")
    if len(manifest.rows) < curation.images:
        raise DataError(
            f"dataset {name!r} of the server has {len(manifest.rows)} images, and "
            f"stagewise.curation.images is {curation.images}; set it to fewer"
        )
    frames = FrameDataset.from_manifest(manifest, None, (UNLABELED,), size)
    drawn = torch.randperm(len(frames), generator=generator_for(run.seed, "server", 0, "images"))
    encoder = build_encoder(run.model.backbone, size, run.seed)
    return Curator(frames.subset(drawn[: curation.images]), encoder, curation, run.seed)
