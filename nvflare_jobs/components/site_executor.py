"""A site under FLARE: passes on the coordinator's tasks, and messages to and from other parties.

The site itself, with its images and its model, is a process of its own (see
``nvflare_jobs.parties.supervised``), for FLARE ends the whole job where one of its processes dies.
Here is only what must touch FLARE. Messages go through its task pipeline in both directions, the
only path between clients on which the site's filters, its audit log and end-to-end encryption all
apply.
"""

import math
import threading
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.task_controller import TaskController
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.utils.fl_context_utils import add_job_audit_event

from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.header import SERVER, Header
from fedefm.train.outline import read_outline
from nvflare_jobs.components.pinned_cell import hold_to_pins
from nvflare_jobs.components.refusals import refuse_unguarded
from nvflare_jobs.components.sealed_task import SealedTask
from nvflare_jobs.kit.doorkeeper import keep_door_of_job
from nvflare_jobs.parties import messages, places, terms
from nvflare_jobs.parties.child import Order
from nvflare_jobs.parties.garbage import look_past_libraries
from nvflare_jobs.parties.reasons import tell_reason
from nvflare_jobs.parties.supervised import Supervised
from nvflare_jobs.parties.tasks import SHARE

ENDS = (EventType.ABOUT_TO_END_RUN, EventType.END_RUN, EventType.ABORT_TASK)
LOG = "training_process.log"  # in the site's folder of the job, which nobody else sees


class SiteExecutor(Executor, TaskController):
    """``job_terms`` is the JSON text of ``Terms``: settings, names and links; no paths, no code.

    No method that FLARE calls raises: a process that dies ends the whole job.
    """

    def __init__(self, job_terms: str) -> None:
        Executor.__init__(self)
        TaskController.__init__(self)
        self.job_terms = job_terms
        self._training: Supervised | None = None
        self._trouble = "FLARE has not started the job here"  # why there is no training process
        self._stop = threading.Event()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Begin and end with the run."""
        try:
            if event_type in ENDS:
                self._end(event_type == EventType.END_RUN)
            TaskController.handle_event(self, event_type, fl_ctx)  # takes the site's filters
            if event_type == EventType.START_RUN:
                self._start(fl_ctx)
        except Exception as error:  # told when the coordinator asks
            self._trouble = tell_reason(error)

    def execute(
        self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        """Everything that goes wrong becomes an answer."""
        if task_name == SHARE:
            return self._receive(shareable, fl_ctx)
        try:
            if self._training is None:
                raise ProtocolError(self._trouble)
            refuse_unguarded(fl_ctx, self.job_terms)
            answer = self._training.ask(
                task_name,
                messages.unpack_numbers(shareable),
                lambda: self._stop.is_set() or bool(abort_signal and abort_signal.triggered),
            )
            return messages.pack_numbers(answer)
        except Exception as error:
            return messages.pack_numbers({"refused": tell_reason(error)})

    def _start(self, fl_ctx: FLContext) -> None:
        """Start the site's own process; it takes messages as soon as it can."""
        look_past_libraries()
        self._refused = hold_to_pins(fl_ctx)
        if not places.simulated():
            keep_door_of_job(fl_ctx.get_engine().get_cell())
        agreed, workspace = terms.read_terms(self.job_terms), fl_ctx.get_workspace()
        self._engine, self._job = fl_ctx.get_engine(), str(fl_ctx.get_job_id())
        self._secure = bool(fl_ctx.get_prop(FLContextKey.SECURE_MODE))
        self._peers = frozenset(agreed.sites)
        self._deadline_s = agreed.run.federation.deadline_s
        order = Order(
            fl_ctx.get_identity_name(),
            self.job_terms,
            self._job,
            str(workspace.get_root_dir()),
            str(workspace.get_site_config_dir()),
            self._secure,
        )
        log = Path(workspace.get_log_root(self._job)) / LOG
        self._training = Supervised(order, log, self._send)
        self._training.start()

    def _end(self, for_good: bool) -> None:
        self._stop.set()
        if self._training is not None:
            self._training.stop()
            if for_good:
                self._training.close()

    def _receive(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Pass a message on to the site, if its sender is who FLARE says."""
        try:
            if self._training is None:
                return make_reply(ReturnCode.EXECUTION_EXCEPTION)
            data = messages.message_bytes(shareable)
            header = read_outline(data).header
            check_sender(header, fl_ctx, self._peers)
            self._training.take(header, data)
        except MessageRejected as error:
            self.log_warning(fl_ctx, str(error), fire_event=False)
            return make_reply(ReturnCode.BAD_REQUEST_DATA)
        except Exception as error:
            why = tell_reason(error)
            self.log_warning(fl_ctx, f"a message was not taken: {why}", fire_event=False)
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
        return make_reply(ReturnCode.OK)

    def _send(self, receiver: str, data: bytes) -> None:
        """One task for one receiver, so that each message can be filtered on its own."""
        header = read_outline(data).header
        with self._engine.new_context() as fl_ctx:
            if self._engine.validate_targets([receiver])[1]:  # its own FLARE kept it out
                raise ProtocolError(f"not taken ({receiver!r} is not in this job)")
            task = SealedTask(
                SHARE,
                messages.pack_bytes(data),
                timeout=math.ceil(self._deadline_s),
                secure=self._secure,
            )
            add_job_audit_event(
                fl_ctx=fl_ctx,
                msg=f"fedefm: send round {header.round} {header.phase!r} to {receiver}",
            )
            replies = self.broadcast_and_wait(task, fl_ctx, targets=[receiver], min_responses=1)
        reply = replies.get(receiver)
        code = reply.get_return_code() if reply is not None else ReturnCode.TIMEOUT
        if code == ReturnCode.TASK_DATA_FILTER_ERROR:
            raise PolicyRefused(
                f"the site's own filter stopped the message to {receiver!r} "
                f"(round {header.round}, {header.phase})"
            )
        if code != ReturnCode.OK:
            raise ProtocolError(f"not taken ({self._refused.get(receiver, code)})")


def check_sender(header: Header, fl_ctx: FLContext, parties: frozenset[str]) -> None:
    """Raises MessageRejected where the header names another sender than FLARE does."""
    peer = fl_ctx.get_peer_context()
    name = peer.get_identity_name() if peer else ""
    name = name if name in parties else SERVER
    if header.sender != name:
        raise MessageRejected(
            f"message from {header.sender!r} was sent by {name!r}, which FLARE names"
        )
