"""Holds a site's processes to answering only whom they should; see ``who_may_ask``.

It stands in ``local/fedefm__p_resources.json`` of a site's kit, for the site's parent process. The
process of a job lets it keep its own door when the job starts.
"""

import logging
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.utils import make_reply
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.stream_const import StreamHeaderKey

from fedefm.errors import PolicyRefused
from nvflare_jobs.kit.who_may_ask import AUX, HUB, Asked, may_ask
from nvflare_jobs.parties.tasks import SHARE

PARENT_FILE = "fedefm__p_resources.json"
logger = logging.getLogger(__name__)


class Doorkeeper(FLComponent):  # type: ignore[misc]  # FLARE has no types
    """Keeps the door of the site's parent process, from before it is registered."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """FLARE tells once that it has a cell and is about to begin."""
        if event_type == EventType.SYSTEM_BOOTSTRAP:
            keep_door(fl_ctx.get_engine().get_cell())


def keep_door(cell: Any) -> None:
    """Answer from now on only whom the process should answer.

    Raises PolicyRefused where this version of FLARE has no such place.
    """
    try:
        cell.core_cell.set_message_interceptor(_intercept, cell.core_cell.my_info.fqcn)
    except AttributeError as error:
        raise PolicyRefused(
            f"FLARE cannot be held to answering its hub alone ({error}); use FLARE 2.9"
        ) from None


def keep_door_of_job(cell: Any) -> None:
    """The same for a job's process, whose peers may also hand it messages, and no other task.

    For when FLARE has said who hears such requests. Raises PolicyRefused as ``keep_door``.
    """
    keep_door(cell)
    site = cell.core_cell.my_info.fqcn.partition(".")[0]
    heard = cell.core_cell.req_reg.find(AUX, "*")
    if heard is None:
        raise PolicyRefused("FLARE hears no requests of its peers in this process; use FLARE 2.9")

    def hear(request: Message) -> Any:
        origin = str(request.get_header(MessageHeaderKey.ORIGIN))
        if origin.partition(".")[0] not in (HUB, site) and not _is_message(request.payload):
            return _refusal(origin, "a task that is no message")
        return heard.cb(request, *heard.args, **heard.kwargs)

    cell.register_request_cb(channel=AUX, topic="*", cb=hear)


def stands_in(local: Path) -> bool:
    """Whether the kit with this ``local`` folder has a doorkeeper for its parent process."""
    try:
        return f"{__name__}.{Doorkeeper.__name__}" in (local / PARENT_FILE).read_text("utf-8")
    except OSError:
        return False


def _intercept(message: Message, own: str) -> Any:
    """Nothing, or the answer in place of what was asked for. What is passed on, passes."""
    if message.get_header(MessageHeaderKey.DESTINATION) != own:
        return None
    asked = Asked(
        origin=str(message.get_header(MessageHeaderKey.ORIGIN) or ""),
        channel=str(message.get_header(MessageHeaderKey.CHANNEL) or ""),
        topic=str(message.get_header(MessageHeaderKey.TOPIC) or ""),
        streamed=str(message.get_header(StreamHeaderKey.CHANNEL) or ""),
        streamed_topic=str(message.get_header(StreamHeaderKey.TOPIC) or ""),
    )
    if may_ask(own, asked):
        return None
    return _refusal(asked.origin, " ".join(filter(None, (asked.channel, asked.topic))))


def _is_message(payload: Any) -> bool:
    return (
        isinstance(payload, Shareable) and payload.get_header(ReservedHeaderKey.TASK_NAME) == SHARE
    )


def _refusal(origin: str, what: str) -> Any:
    logger.warning("%s asked this process for %s, and is not answered", origin, what)
    return make_reply(ReturnCode.UNAUTHENTICATED, error="this site answers its hub alone")
