"""Jobs that ran when the server ended: they are over, and the server says so when it is back.

FLARE 2.9 lets them stand as running for ever, so that whoever waits for one waits for nothing, and
no site could be told to go on with another. It stands in ``local/fedefm__p_resources.json`` of the
server's kit.
"""

import logging

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext

logger = logging.getLogger(__name__)


class LostJobs(FLComponent):  # type: ignore[misc]  # FLARE has no types
    """Writes down, before any job is begun, that those of the server's former life are lost."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """FLARE tells once that it is about to begin, and has begun no job yet."""
        if event_type != EventType.SYSTEM_BOOTSTRAP:
            return
        try:
            fl_ctx.get_engine().job_runner.update_unfinished_jobs(fl_ctx)
        except Exception:  # the server is there for other jobs all the same
            logger.exception("jobs of the server's former life keep the status that they had")
