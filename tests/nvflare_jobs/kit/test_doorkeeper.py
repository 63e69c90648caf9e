"""The doorkeeper in FLARE's own cell: what comes in, and what does not."""

from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.fuel.f3.cellnet import core_cell
from nvflare.fuel.f3.cellnet.defs import CellChannel, MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.registry import Callback, Registry
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming import stream_const
from nvflare.private.defs import SysCommandTopic, TrainingTopic

from nvflare_jobs.kit import who_may_ask
from nvflare_jobs.kit.doorkeeper import Doorkeeper, keep_door, keep_door_of_job, stands_in
from provisioning.kit_files import DOORKEEPER, PARENT_FILE

JOB = "0b7c9a52-1111-4222-8333-444455556666"


class Cell:
    """What of FLARE's cell is used, without a network."""

    def __init__(self, own: str) -> None:
        self.core_cell = SimpleNamespace(
            my_info=SimpleNamespace(fqcn=own),
            req_reg=Registry(),
            set_message_interceptor=self._intercept_with,
        )
        self.heard: list[Any] = []
        heard = Callback(lambda request: self.heard.append(request) or "done", (), {})
        self.core_cell.req_reg.set(CellChannel.AUX_COMMUNICATION, "*", heard)

    def _intercept_with(self, cb: Any, *args: Any) -> None:
        self.intercept = lambda message: cb(message, *args)

    def register_request_cb(self, channel: str, topic: str, cb: Any) -> None:
        self.core_cell.req_reg.set(channel, topic, Callback(cb, (), {}))

    def hear(self, message: Message) -> Any:
        return self.core_cell.req_reg.find(CellChannel.AUX_COMMUNICATION, "x").cb(message)


def request(origin: str, channel: str, topic: str, to: str = "hosp-B", **more: Any) -> Message:
    headers = {
        MessageHeaderKey.ORIGIN: origin,
        MessageHeaderKey.DESTINATION: to,
        MessageHeaderKey.CHANNEL: channel,
        MessageHeaderKey.TOPIC: topic,
    }
    return Message(headers, **more)


def test_what_is_refused_is_answered_so_and_the_rest_goes_its_way() -> None:
    cell = Cell("hosp-B")
    keep_door(cell)
    shell = cell.intercept(request("hosp-a", CellChannel.CLIENT_MAIN, SysCommandTopic.SHELL))
    assert shell.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.UNAUTHENTICATED
    deploy = request("server", CellChannel.CLIENT_MAIN, TrainingTopic.DEPLOY)
    assert cell.intercept(deploy) is None


def test_what_is_for_others_is_passed_on() -> None:
    cell = Cell("hosp-B")
    keep_door(cell)
    for_job = request("hosp-a.1", CellChannel.AUX_COMMUNICATION, "x", to="hosp-B.1")
    assert cell.intercept(for_job) is None


def test_the_door_is_shut_before_the_site_registers() -> None:
    cell, fl_ctx = Cell("hosp-B"), FLContext()
    engine = SimpleNamespace(get_cell=lambda: cell)
    fl_ctx.get_engine = lambda: engine
    Doorkeeper().handle_event(EventType.SYSTEM_BOOTSTRAP, fl_ctx)
    assert cell.intercept(request("hosp-a", CellChannel.CLIENT_MAIN, SysCommandTopic.SHELL))


@pytest.mark.parametrize("task", ["fedefm_ready", "fedefm_round", "fedefm_dismiss", ""])
def test_a_peer_hands_a_job_no_task_but_a_message(task: str) -> None:
    cell = Cell(f"hosp-B.{JOB}")
    keep_door_of_job(cell)
    told = cell.hear(asking(f"hosp-a.{JOB}", task))
    assert told.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.UNAUTHENTICATED
    assert not cell.heard
    assert cell.hear(asking(f"hosp-a.{JOB}", "fedefm_share")) == "done"
    assert cell.hear(asking(f"server.{JOB}", task)) == "done"


def asking(origin: str, task: str) -> Message:
    shareable = Shareable()
    shareable.set_header(ReservedHeaderKey.TASK_NAME, task)
    topic = who_may_ask.TASK
    return request(origin, CellChannel.AUX_COMMUNICATION, topic, payload=shareable)


def test_the_names_are_those_of_flare() -> None:
    assert who_may_ask.COMMANDS == CellChannel.CLIENT_MAIN
    assert who_may_ask.JOB_COMMANDS == CellChannel.CLIENT_COMMAND
    assert who_may_ask.AUX == CellChannel.AUX_COMMUNICATION
    assert who_may_ask.NETWORK == CellChannel.CELLNET
    assert who_may_ask.REPLIES == CellChannel.RETURN_ONLY
    assert who_may_ask.STREAM == stream_const.STREAM_CHANNEL
    assert who_may_ask.CERTIFICATES == core_cell._SM_CHANNEL
    known = {SysCommandTopic.SHELL, SysCommandTopic.REPORT_ENV, TrainingTopic.DELETE_RUN}
    assert known < who_may_ask.NEVER


def test_a_kit_says_that_it_has_one(tmp_path) -> None:
    assert not stands_in(tmp_path)
    (tmp_path / PARENT_FILE).write_text("{}")
    assert not stands_in(tmp_path)
    (tmp_path / PARENT_FILE).write_text(f'{{"components": [{{"path": "{DOORKEEPER["path"]}"}}]}}')
    assert stands_in(tmp_path)
