"""The server file: images and weights of the server's own, where a run gives it work to do.

The server has no labels. Whatever images it is given are read as pictures alone, and refused where
their manifest has labels or masks.
"""

from pathlib import Path

from pydantic import Field, field_validator

from fedefm.config.names import dataset_name
from fedefm.config.section import Name, Section, read

SERVER_FILE = "fedefm_server.yaml"  # beside the folders of the sites; in the server's kit in local/


class ServerConfig(Section):
    """One server file. Paths are relative to it."""

    datasets: dict[Name, Path] = Field({})  # manifests of images without labels
    starts: dict[Name, Path] = Field({})  # weights to start from

    @field_validator("datasets")
    @classmethod
    def _each_dataset_can_be_named(cls, datasets: dict[Name, Path]) -> dict[Name, Path]:
        return {dataset_name(name): path for name, path in datasets.items()}


def read_server(path: Path) -> ServerConfig:
    """The server file at ``path``. Raises ConfigError with every mistake of the file."""
    return read(path, ServerConfig, "server file")
