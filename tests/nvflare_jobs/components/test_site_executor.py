"""What touches FLARE at a site: nothing raises there, and messages pass through uncopied."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace

from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.message import Postbox
from fedefm.train.outline import read_outline
from nvflare_jobs.components import site_executor
from nvflare_jobs.components.site_executor import SiteExecutor
from nvflare_jobs.parties import places
from nvflare_jobs.parties.messages import message_bytes, pack_bytes, pack_numbers, unpack_numbers
from nvflare_jobs.parties.tasks import ROUND, SHARE
from nvflare_jobs.parties.terms import terms_for

SITES = ("hosp-a", "hosp-b", "hosp-c")


class Training:
    """Stands for the supervised process."""

    def __init__(self, order: Any, log: Any, deliver: Any) -> None:
        self.order, self.log, self.deliver = order, log, deliver
        self.done: list[Any] = []
        self.trouble: Exception | None = None

    def start(self) -> None:
        self.done.append("start")

    def stop(self) -> None:
        self.done.append("stop")

    def close(self) -> None:
        self.done.append("close")

    def ask(self, task: str, numbers: Any, stopped: Any) -> dict[str, Any]:
        if self.trouble:
            raise self.trouble
        return {"task": task, **numbers, "stopped": stopped()}

    def take(self, header: Any, data: bytes) -> None:
        if self.trouble:
            raise self.trouble
        self.done.append((header, data))


@pytest.fixture
def fl_ctx(tmp_path, monkeypatch) -> FLContext:
    """In a simulation, with a message from hosp-b, as FLARE says."""
    monkeypatch.setenv(places.SITES_DIR, str(tmp_path))
    for name in ("startup", "local"):
        (tmp_path / name).mkdir()
    workspace = Workspace(str(tmp_path), "hosp-a")
    made, peer = FLContext(), FLContext()
    peer.set_prop(ReservedKey.IDENTITY_NAME, "hosp-b")
    made.set_prop(ReservedKey.IDENTITY_NAME, "hosp-a")
    made.set_prop(ReservedKey.RUN_NUM, "job")
    made.set_prop(FLContextKey.SECURE_MODE, False)
    runner = SimpleNamespace(task_data_filters={}, task_result_filters={})
    made.set_prop(FLContextKey.RUNNER, runner)
    made.set_peer_context(peer)
    engine = SimpleNamespace(get_workspace=lambda: workspace)
    made.get_engine = lambda: engine
    return made


@pytest.fixture
def executor(tiny_run, monkeypatch) -> SiteExecutor:
    monkeypatch.setattr(site_executor, "Supervised", Training)
    return SiteExecutor(terms_for(tiny_run, SITES).model_dump_json())


@pytest.fixture
def started(executor, fl_ctx) -> SiteExecutor:
    executor.handle_event(EventType.START_RUN, fl_ctx)
    return executor


def message(sender: str = "hosp-b") -> bytes:
    return Postbox(sender, "tiny", "job").seal(1, "sum", "hosp-a", {"w": torch.ones(2)}).to_bytes()


def ask(executor: SiteExecutor, fl_ctx: FLContext, shareable: Shareable | None = None) -> Any:
    given = pack_numbers({"round": 2}) if shareable is None else shareable
    return unpack_numbers(executor.execute(ROUND, given, fl_ctx, Signal()))


def give(executor: SiteExecutor, fl_ctx: FLContext, shareable: Shareable) -> str:
    return executor.execute(SHARE, shareable, fl_ctx, Signal()).get_return_code()


def test_a_task_is_the_sites_own_to_answer(started, fl_ctx, tmp_path) -> None:
    assert ask(started, fl_ctx) == {"task": ROUND, "round": 2, "stopped": False}
    training = started._training
    assert training.order.site == "hosp-a"
    assert training.order.job == "job"
    assert tmp_path in training.log.parents


def test_an_aborted_job_stops_the_site(started, fl_ctx) -> None:
    aborted = Signal()
    aborted.trigger(True)
    told = unpack_numbers(started.execute(ROUND, pack_numbers({}), fl_ctx, aborted))
    assert told["stopped"]
    for event in (EventType.ABORT_TASK, EventType.ABOUT_TO_END_RUN, EventType.END_RUN):
        started.handle_event(event, fl_ctx)
    assert started._training.done == ["start", "stop", "stop", "stop", "close"]
    assert ask(started, fl_ctx)["stopped"]


def test_before_the_run_begins_nothing_is_taken(executor, fl_ctx) -> None:
    assert "FLARE has not started the job here" in ask(executor, fl_ctx)["refused"]
    assert give(executor, fl_ctx, pack_bytes(message())) == ReturnCode.EXECUTION_EXCEPTION


@pytest.mark.parametrize("event", [EventType.START_RUN, EventType.END_RUN, EventType.ABORT_TASK])
def test_no_event_throws_whatever_flare_hands_over(executor, event) -> None:
    for broken in (FLContext(), None, SimpleNamespace()):
        executor.handle_event(event, broken)
        executor.execute(ROUND, Shareable(), broken, None)
        executor.execute(SHARE, Shareable(), broken, None)


def test_why_the_site_could_not_start_is_told_without_the_words_of_others(
    executor, fl_ctx, monkeypatch
) -> None:
    monkeypatch.setattr(Training, "start", lambda self: {}["Jane Doe"])
    executor._training = None
    executor.handle_event(EventType.START_RUN, fl_ctx)
    told = ask(executor, fl_ctx)
    assert "Doe" not in str(told)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (ProtocolError("it died"), "ProtocolError: it died"),
        (KeyError("Jane Doe"), "KeyError, see the site's own log"),
        (MemoryError(), "MemoryError, see the site's own log"),
        (RuntimeError("no"), "RuntimeError, see the site's own log"),
    ],
)
def test_what_goes_wrong_in_a_task_is_its_answer(started, fl_ctx, trouble, told) -> None:
    started._training.trouble = trouble
    assert ask(started, fl_ctx) == {"refused": told}
    assert give(started, fl_ctx, pack_bytes(message())) != ReturnCode.OK


def test_a_task_of_another_form_is_refused(started, fl_ctx) -> None:
    for other in (Shareable(), pack_bytes(message())):
        assert "ProtocolError" in ask(started, fl_ctx, other)["refused"]


def test_a_message_is_handed_on_as_it_is(started, fl_ctx) -> None:
    data = message()
    assert give(started, fl_ctx, pack_bytes(data)) == ReturnCode.OK
    header, taken = started._training.done[-1]
    assert taken is data
    assert (header.sender, header.round, header.phase) == ("hosp-b", 1, "sum")


@pytest.mark.parametrize(
    "given", [pack_bytes(message("hosp-c")), pack_bytes(b"noise"), pack_numbers({}), Shareable()]
)
def test_what_is_no_message_of_its_sender_is_refused(started, fl_ctx, given) -> None:
    assert give(started, fl_ctx, given) == ReturnCode.BAD_REQUEST_DATA
    assert started._training.done == ["start"]


def test_a_message_that_the_site_does_not_keep_is_known_to_its_sender(started, fl_ctx) -> None:
    started._training.trouble = MessageRejected("too late")
    assert give(started, fl_ctx, pack_bytes(message())) == ReturnCode.BAD_REQUEST_DATA


class Context:
    """``with engine.new_context() as fl_ctx``."""

    def __enter__(self) -> FLContext:
        return FLContext()

    def __exit__(self, *error: object) -> None:
        return None


def sent(executor: SiteExecutor, monkeypatch: Any, code: str | None, known: bool = True) -> Any:
    """The task that was put, where FLARE's pipeline ended with ``code``; None is no answer."""
    put = []

    def broadcast(task: Any, fl_ctx: Any, targets: Any, min_responses: int) -> Any:
        put.append((task, targets))
        return {} if code is None else {"hosp-b": make_reply(code)}

    executor._engine = SimpleNamespace(
        new_context=Context, validate_targets=lambda names: ([], [] if known else names)
    )
    monkeypatch.setattr(executor, "broadcast_and_wait", broadcast)
    monkeypatch.setattr(site_executor, "add_job_audit_event", lambda fl_ctx, msg: put.append(msg))
    executor._training.deliver("hosp-b", message("hosp-a"))
    return put


def test_what_the_site_sends_is_audited_and_takes_the_pipeline(started, monkeypatch) -> None:
    audited, (task, targets) = sent(started, monkeypatch, ReturnCode.OK)
    assert audited == "fedefm: send round 1 'sum' to hosp-b"
    assert targets == ["hosp-b"]
    assert read_outline(message_bytes(task.data)).header.sender == "hosp-a"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ReturnCode.TASK_DATA_FILTER_ERROR, PolicyRefused),
        (ReturnCode.BAD_REQUEST_DATA, ProtocolError),
        (ReturnCode.TIMEOUT, ProtocolError),
        (None, ProtocolError),
    ],
)
def test_what_was_not_taken_or_must_not_leave_is_told(started, monkeypatch, code, kind) -> None:
    with pytest.raises(kind):
        sent(started, monkeypatch, code)


def test_nothing_is_sent_to_who_is_not_in_the_job(started, monkeypatch) -> None:
    with pytest.raises(ProtocolError, match="not in this job"):
        sent(started, monkeypatch, ReturnCode.OK, known=False)
