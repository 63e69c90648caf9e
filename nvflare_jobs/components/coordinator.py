"""The server under FLARE: puts tasks to the sites and takes part where an algorithm has a server.

What is done in which order stands in ``nvflare_jobs.parties.conductor``; here is only how it
travels.
"""

import json
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLContextKey, ReservedTopic, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.apis.signal import Signal

import fedefm.model  # noqa: F401 - before anything imports torchvision
from fedefm.errors import FedEFMError, MessageRejected, ProtocolError
from fedefm.train.exchange import SERVER
from fedefm.train.message import Message, Postbox
from fedefm.train.server_side import find_server_side
from nvflare_jobs.components.asking import TasksByFlare
from nvflare_jobs.components.site_executor import check_sender
from nvflare_jobs.components.tracking import Tracked
from nvflare_jobs.parties import messages, places, tasks, terms
from nvflare_jobs.parties.conductor import SIMULATOR, Conductor
from nvflare_jobs.parties.garbage import look_past_libraries
from nvflare_jobs.parties.hiding import hiding
from nvflare_jobs.parties.identities import credentials_of
from nvflare_jobs.parties.mailbox import Mailbox
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.reasons import tell_reason
from nvflare_jobs.parties.standing import Standing
from nvflare_jobs.parties.telling_progress import PROGRESS, progress_after


class Coordinator(Controller):
    """``job_terms`` is the JSON text of ``Terms``."""

    def __init__(self, job_terms: str) -> None:
        super().__init__()
        self.job_terms = job_terms
        self._party: Party | None = None
        self._folder = Path()
        self._standing = Standing()
        self._ended: dict[str, str] | None = None

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Take messages to the server on the path that clients use between each other."""
        self._engine = fl_ctx.get_engine()
        self._engine.register_aux_message_handler(
            topic=ReservedTopic.DO_TASK, message_handle_func=self._receive
        )
        self._engine.register_app_command(PROGRESS, self._tell_progress)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing to close: the run folder was closed when the job ended."""

    def process_result_of_unknown_task(
        self,
        client: Any,
        task_name: str,
        client_task_id: str,
        result: Shareable,
        fl_ctx: FLContext,
    ) -> None:
        """A site that answers after its round was closed; it takes part in the next one."""
        self.log_info(fl_ctx, f"{client.name} answered {task_name} too late")

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """The whole job; what became of it stands in ``status.json``, whatever FLARE says."""
        look_past_libraries()
        workspace, job_id = fl_ctx.get_workspace(), fl_ctx.get_job_id()
        folder = Path(workspace.get_result_root(job_id)) / places.RUN_FOLDER
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        told = {"status": "failed", "error": "", "sentence": ""}
        try:
            conductor = self._conductor(
                folder, Path(workspace.get_root_dir()), abort_signal, fl_ctx
            )
            where = SIMULATOR if places.simulated() else "prod"
            conductor.conduct(where, encrypted=bool(fl_ctx.get_prop(FLContextKey.SECURE_MODE)))
            told["status"] = "finished"
        except Exception as error:
            self.log_exception(fl_ctx, "the job failed")
            told |= {"error": type(error).__name__, "sentence": _sentence(error)}
        folder.mkdir(exist_ok=True)
        unfinished = folder / f"{places.STATUS_FILE}.unfinished"
        unfinished.write_text(json.dumps(told), encoding="utf-8")
        unfinished.replace(folder / places.STATUS_FILE)
        self._ended = told
        if not places.simulated():  # there the process that started it all does so
            self._complete(folder, fl_ctx)
        if told["status"] != "finished":
            self.system_panic(told["sentence"], fl_ctx)

    def _complete(self, folder: Path, fl_ctx: FLContext) -> None:
        from nvflare_jobs.completing import complete_run_folder  # what draws loads slowly

        try:
            complete_run_folder(folder)
        except Exception:  # the run is what it is without its report
            self.log_exception(fl_ctx, "the run folder lacks its report")

    def _tell_progress(self, topic: str, data: Any, fl_ctx: FLContext) -> dict[str, Any]:
        """For FLARE's ``app_command``; it asks for the right of that name."""
        offset = data.get("after") if isinstance(data, dict) else None
        return progress_after(self._folder, offset, self._standing, self._ended)

    def _conductor(
        self, folder: Path, kit: Path, abort_signal: Signal, fl_ctx: FLContext
    ) -> Conductor:
        agreed = terms.read_terms(self.job_terms)
        run, job = agreed.run, fl_ctx.get_job_id()
        needed = run.privacy.secagg is not None
        credentials = credentials_of(SERVER, agreed.sites, kit, needed)
        self._sites = agreed.sites
        self._secure = bool(fl_ctx.get_prop(FLContextKey.SECURE_MODE))
        self._deadline_s = run.federation.deadline_s

        def stopped() -> bool:
            return bool(abort_signal.triggered)

        seal, wire = credentials.seal if credentials else None, run.federation.wire
        postbox = Postbox(SERVER, run.name, job, seal=seal, wire=wire)
        party = Party(postbox, Mailbox(), self._send, self._deadline_s, stopped)
        state = places.state_folder(SERVER, run.name, kit)
        ask = TasksByFlare(self, fl_ctx, agreed.sites, self._standing, stopped)
        secrecy = hiding(credentials, None, state, agreed, job, party.refused.append)
        tracked = (Tracked(self, fl_ctx),)
        own = find_server_side(run, places.server_file(kit / places.LOCAL))
        conductor = Conductor(agreed, folder, state, party, ask, secrecy, tracked, own)
        self._party = party
        return conductor

    def _receive(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        if self._party is None:
            return make_reply(ReturnCode.SERVICE_UNAVAILABLE)
        try:
            message = messages.unpack_message(request)
            check_sender(message.header, fl_ctx, frozenset(self._sites))
            self._party.receive(message)
        except MessageRejected as error:
            self.log_warning(fl_ctx, str(error))
            return make_reply(ReturnCode.BAD_REQUEST_DATA)
        return make_reply(ReturnCode.OK)

    def _send(self, receiver: str, message: Message) -> None:
        """The server's message arrives at the site as one from a neighbor does."""
        request = messages.pack_message(message)
        request.set_header(ReservedHeaderKey.TASK_NAME, tasks.SHARE)
        with self._engine.new_context() as fl_ctx:
            replies = self._engine.send_aux_request(
                targets=[receiver],
                topic=ReservedTopic.DO_TASK,
                request=request,
                timeout=self._deadline_s,
                fl_ctx=fl_ctx,
                secure=self._secure,
            )
        reply = (replies or {}).get(receiver)
        code = reply.get_return_code() if reply is not None else ReturnCode.TIMEOUT
        if code != ReturnCode.OK:
            raise ProtocolError(f"not taken ({code})")


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, FedEFMError) else tell_reason(error)
