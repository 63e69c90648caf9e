"""Lets a kit start with the versions only that it was made for.

It stands in ``local/fedefm__p_resources.json`` of every server's and site's kit. FLARE builds it in
the parent process before that process talks to anybody.
"""

import sys
from pathlib import Path

from nvflare.apis.fl_component import FLComponent

from fedefm.errors import ProvisionError
from provisioning.made_for import refuse_other_versions

STOP = "shutdown.fl"  # with it FLARE's start script ends, in place of trying for ever


class MadeFor(FLComponent):  # type: ignore[misc]  # FLARE has no types
    """Ends the process with one sentence where other versions are installed."""

    def __init__(self) -> None:
        """FLARE enters the kit's folder before it builds anything."""
        super().__init__()
        kit = Path.cwd()
        try:
            refuse_other_versions(kit)
        except ProvisionError as error:
            (kit / STOP).touch()
            sys.exit(f"fedefm: nothing is started: {error}")
