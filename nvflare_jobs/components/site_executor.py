"""A site under FLARE: answers the coordinator's tasks, and exchanges messages with other parties.

Messages go through FLARE's task pipeline in both directions, the only path between clients on which
the site's filters, its audit log and end-to-end encryption all apply.
"""

import math
import threading
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FilterKey, FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.task_controller import TaskController
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.utils.fl_context_utils import add_job_audit_event

import fedefm.model  # noqa: F401 - before anything imports torchvision
from fedefm.config import RunConfig
from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.exchange import SERVER
from fedefm.train.message import Message, Postbox
from nvflare_jobs.components.sealed_task import SealedTask
from nvflare_jobs.parties import messages, places, terms
from nvflare_jobs.parties.identities import Credentials, credentials_of
from nvflare_jobs.parties.mailbox import Mailbox
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.site_work import SiteWork, tell_reason


class SiteExecutor(Executor, TaskController):
    """``job_terms`` is the JSON text of ``Terms``: settings, names and links; no paths, no code."""

    def __init__(self, job_terms: str) -> None:
        Executor.__init__(self)
        TaskController.__init__(self)
        self.job_terms = job_terms
        self._work: SiteWork | None = None
        self._party: Party | None = None
        self._credentials: Credentials | None = None
        self._trouble = ""  # why messages are not taken
        self._stop = threading.Event()
        self._opened = threading.Event()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        TaskController.handle_event(self, event_type, fl_ctx)  # takes the job's filters
        if event_type == EventType.START_RUN:
            try:
                self._open_mail(fl_ctx)
            except Exception as error:  # told when the coordinator asks
                self._trouble = tell_reason(error)
        elif event_type in (EventType.ABOUT_TO_END_RUN, EventType.END_RUN, EventType.ABORT_TASK):
            self._stop.set()
        if event_type == EventType.END_RUN and self._work is not None:
            self._work.close()

    def execute(
        self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        """Everything that goes wrong becomes an answer: a process that dies ends the whole job."""
        try:
            if task_name == messages.SHARE:
                return self._receive(shareable, fl_ctx)
            numbers = messages.unpack_numbers(shareable)
            return messages.pack_numbers(self._answer(task_name, numbers, fl_ctx))
        except Exception as error:
            return messages.pack_numbers({"refused": tell_reason(error)})

    def _answer(self, task: str, numbers: dict[str, Any], fl_ctx: FLContext) -> dict[str, Any]:
        work, party = self._site(fl_ctx)
        return work.answer(task, numbers, party)

    def _site(self, fl_ctx: FLContext) -> tuple[SiteWork, Party]:
        """The site's work and party, built when first needed: images are decoded only once."""
        if self._party is None:
            raise ProtocolError(self._trouble or "FLARE has not started the job here")
        if self._work is None:
            agreed = terms.read_terms(self.job_terms)
            if promises(agreed.run) and not places.simulated():
                require_gate(fl_ctx)
            workspace = fl_ctx.get_workspace()
            name, kit = fl_ctx.get_identity_name(), Path(workspace.get_root_dir())
            self._work = SiteWork(
                name,
                agreed,
                places.site_file(name, Path(workspace.get_site_config_dir())),
                places.state_folder(name, agreed.run.name, kit),
                encrypted=bool(fl_ctx.get_prop(FLContextKey.SECURE_MODE)),
                simulated=places.simulated(),
                job=fl_ctx.get_job_id(),
                credentials=self._credentials,
            )
        return self._work, self._party

    def _open_mail(self, fl_ctx: FLContext) -> None:
        """Take messages from now on; neighbors may be ahead of this site."""
        agreed, name = terms.read_terms(self.job_terms), fl_ctx.get_identity_name()
        run, kit = agreed.run, Path(fl_ctx.get_workspace().get_root_dir())
        needed = run.privacy.secagg is not None
        self._credentials = credentials_of(name, agreed.sites, kit, needed)
        seal = self._credentials.seal if self._credentials else None
        postbox = Postbox(name, run.name, fl_ctx.get_job_id(), seal=seal)
        self._engine = fl_ctx.get_engine()
        self._secure = bool(fl_ctx.get_prop(FLContextKey.SECURE_MODE))
        self._peers = frozenset(agreed.sites)
        self._deadline_s = run.federation.deadline_s
        self._party = Party(postbox, Mailbox(), self._send, self._deadline_s, self._stop.is_set)

    def _receive(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Keep a message for the round that it belongs to, if its sender is who FLARE says."""
        if self._party is None:
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
        try:
            message = messages.unpack_message(shareable)
            check_sender(message, fl_ctx, self._peers)
            self._party.receive(message)
        except MessageRejected as error:
            self.log_warning(fl_ctx, str(error))
            return make_reply(ReturnCode.BAD_REQUEST_DATA)
        return make_reply(ReturnCode.OK)

    def _send(self, receiver: str, message: Message) -> None:
        """One task for one receiver, so that each message can be filtered on its own."""
        with self._engine.new_context() as fl_ctx:
            if self._engine.validate_targets([receiver])[1]:  # its own FLARE kept it out
                raise ProtocolError(f"not taken ({receiver!r} is not in this job)")
            task = SealedTask(
                messages.SHARE,
                messages.pack_message(message),
                timeout=math.ceil(self._deadline_s),
                secure=self._secure,
            )
            header = message.header
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
            raise ProtocolError(f"not taken ({code})")


def promises(run: RunConfig) -> bool:
    """Whether the run promises anything about what leaves a site, which its gate must hold."""
    return run.privacy.dp is not None or run.privacy.secagg is not None


def require_gate(fl_ctx: FLContext) -> None:
    """Raises PolicyRefused where the site's own filter would not see all that leaves."""
    from nvflare_jobs.components.gate_filter import GateFilter  # the privacy packages load slowly

    scope = fl_ctx.get_prop(FLContextKey.SCOPE_OBJECT)
    chains = (scope.task_data_filters, scope.task_result_filters) if scope else ({}, {})
    if not all(
        any(type(each) is GateFilter for each in chain.get(FilterKey.OUT, ())) for chain in chains
    ):
        raise PolicyRefused(
            f"site {fl_ctx.get_identity_name()!r} runs nothing privately without its gate: the "
            "site's local/privacy.json must have GateFilter in direction 'out' for task data and "
            "for results, in the scope of the job"
        )


def check_sender(message: Message, fl_ctx: FLContext, parties: frozenset[str]) -> None:
    """Raises MessageRejected where the header names another sender than FLARE does."""
    peer = fl_ctx.get_peer_context()
    name = peer.get_identity_name() if peer else ""
    name = name if name in parties else SERVER
    if message.header.sender != name:
        raise MessageRejected(
            f"message from {message.header.sender!r} was sent by {name!r}, which FLARE names"
        )
