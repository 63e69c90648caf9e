"""Images named by their manifest are still a hospital's: its site file beside them holds."""

from pathlib import Path

from fedefm.config import SITE_FILE, read_site
from fedefm.errors import PolicyRefused


def refuse_where_privacy_is_required(manifest: Path) -> None:
    """Raises PolicyRefused where a site file beside ``manifest`` wants it trained privately.

    A site file beside that does not name this very manifest does not count. One that cannot be
    read raises ConfigError: it may be the one that forbids.
    """
    for folder in dict.fromkeys((manifest.absolute().parent, manifest.resolve().parent)):
        site_file = folder / SITE_FILE
        if not site_file.exists():
            continue
        site = read_site(site_file)
        names = [
            name
            for name, entry in site.datasets.items()
            if (folder / entry.manifest).resolve() == manifest.resolve()
        ]
        if names and site.policy.require_dp:
            raise PolicyRefused(
                f"site file {site_file} requires differential privacy for {manifest}; name the "
                f"images by --site {site_file} --dataset {' or '.join(names)}, with --epsilon"
            )
