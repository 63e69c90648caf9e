"""FLARE sends what it had before its filters; a filter that replaces data must stop the message."""

from types import SimpleNamespace

import pytest
from nvflare.apis.fl_constant import FilterKey, FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.task_controller import TaskController
from nvflare.apis.shareable import Shareable, make_reply

from fedefm.errors import PolicyRefused
from nvflare_jobs.components.sealed_task import SealedTask

OUT = f"fedefm_share{FilterKey.DELIMITER}{FilterKey.OUT}"


class Engine:
    """As much of a FLARE client as sending needs; keeps what would leave."""

    all_clients = (SimpleNamespace(name="hosp-b"),)

    def __init__(self) -> None:
        self.left: list[Shareable] = []

    def validate_targets(self, names):
        return names, []

    def fire_event(self, event_type, fl_ctx) -> None:
        return None

    def send_aux_request(self, targets, request, **settings):
        self.left.append(request)
        return {targets[0]: make_reply(ReturnCode.OK)}


def send(process) -> tuple[Engine, str]:
    """Send one task past a filter; what left, and FLARE's word about it."""
    controller, engine, fl_ctx = TaskController(), Engine(), FLContext()
    fl_ctx.set_prop(FLContextKey.RUNNER, None)
    fl_ctx.get_engine = lambda: engine
    controller.task_data_filters = {OUT: [SimpleNamespace(process=process)]}
    task = SealedTask("fedefm_share", Shareable({"x": 1}), timeout=5)
    replies = controller.broadcast_and_wait(task, fl_ctx, targets=["hosp-b"], min_responses=1)
    return engine, replies["hosp-b"].get_return_code()


def test_nothing_leaves_where_a_filter_returns_something_new() -> None:
    engine, code = send(lambda data, fl_ctx: Shareable({"x": 2}))
    assert engine.left == []
    assert code == ReturnCode.TASK_DATA_FILTER_ERROR


def test_a_filter_that_changes_data_in_place_is_heeded() -> None:
    def double(data, fl_ctx):
        data["x"] *= 2
        return data

    engine, code = send(double)
    assert engine.left[0]["x"] == 2
    assert code == ReturnCode.OK


def test_data_is_set_once() -> None:
    task = SealedTask("fedefm_share", Shareable(), timeout=5)
    with pytest.raises(PolicyRefused):
        task.data = Shareable()
