"""Whose certificates a site's own file pins; in a file of its own, since identities load slowly."""

from collections.abc import Collection
from pathlib import Path

from fedefm.config import SITE_FILE, read_site
from fedefm.errors import ConfigError
from nvflare_jobs.parties import places


def pins_of(site: str, local: Path, sites: Collection[str] = ()) -> dict[str, str]:
    """What the site's own file pins, by party; empty where it pins nothing, or there is no file.

    Raises ConfigError where one of the job's ``sites`` is not among them.
    """
    if not (local / SITE_FILE).is_file():
        return {}
    peers = read_site(places.site_file(site, local)).peers
    unknown = sorted({*sites} - {*peers, site}) if peers else []
    if unknown:
        raise ConfigError(
            f"site {site!r} pins the certificates of its peers, and those of "
            f"{', '.join(unknown)} are not among them; leave them out of the job, or let the site "
            "add them to `peers` in its file"
        )
    return peers
