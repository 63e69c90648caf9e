"""In which scan mode the images of a fine-tuning are: as the command says, or as the site does."""

from pathlib import Path

from fedefm.config.names import ScanMode
from fedefm.errors import ConfigError


def scan_mode_told(
    told: ScanMode | None, convert: float, site_file: Path | None, dataset: str
) -> ScanMode | None:
    """The mode of the images, where a share of them is to be converted.

    Raises ConfigError where a site's own file is in use and has no mode, or is contradicted.
    """
    if site_file is None:
        return told
    if told is not None:
        raise ConfigError(
            "--scan-mode is for a MANIFEST; of a --dataset the site's file says it, as `scan_mode`"
        )
    if convert == 0:
        return None
    from fedefm.train.assemble import scan_mode_at  # loads slowly

    mode = scan_mode_at(site_file, dataset)
    if mode is None:
        raise ConfigError(
            f"--convert needs to know in which scan mode the images are, and dataset {dataset!r} "
            f"has no `scan_mode` in {site_file}; the site's owner can add it there"
        )
    return mode
