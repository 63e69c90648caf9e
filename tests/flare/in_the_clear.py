"""Takes encryption out of a site's messages, for the test of a test.

Stands in a site's ``local/clear__j_resources.json``. Nothing of the project does this.
"""

from typing import Any

from nvflare.apis.fl_component import FLComponent

from nvflare_jobs.components import site_executor
from nvflare_jobs.components.sealed_task import SealedTask


class InTheClear(FLComponent):
    """Every message of this process is sent with ``secure=False``."""

    def __init__(self) -> None:
        super().__init__()

        def unencrypted(*args: Any, **settings: Any) -> SealedTask:
            return SealedTask(*args, **{**settings, "secure": False})

        site_executor.SealedTask = unencrypted
