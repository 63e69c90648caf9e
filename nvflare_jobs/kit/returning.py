"""A site that starts again goes on with the jobs that it was part of when it ended.

FLARE 2.9 sends a job to a site once. This component stands in ``local/fedefm__p_resources.json``
of the kit, and starts the site's part of a job again if the server still runs it.
"""

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, ReservedTopic, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.workspace import Workspace
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.private.aux_runner import AuxMsgTarget

from nvflare_jobs.kit.running import RunningJob, running_jobs

logger = logging.getLogger(__name__)

ASKED, PAUSE_S, ANSWER_S = 5, 3.0, 5.0  # how often and how long the server is asked about a job
LAST_S = 20.0  # for a process of the site's former life, which ends when it misses its parent


class ReturningSite(FLComponent):  # type: ignore[misc]  # FLARE has no types
    """Goes on with what ran here, once the site is registered."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """The site's own processes are up: look what it was doing."""
        if event_type == EventType.SYSTEM_START:
            workspace = Workspace(fl_ctx.get_prop(FLContextKey.WORKSPACE_ROOT))
            jobs = running_jobs(Path(workspace.get_root_dir()))
            threading.Thread(
                target=self._go_on, args=(jobs, workspace, fl_ctx.get_engine()), daemon=True
            ).start()

    def _go_on(self, jobs: list[RunningJob], workspace: Workspace, engine: Any) -> None:
        for running in jobs:
            try:
                self._go_on_with(running, workspace, engine)
            except Exception:  # the site is there for other jobs all the same
                logger.exception("job %s does not go on here", running.job)

    def _go_on_with(self, running: RunningJob, workspace: Workspace, engine: Any) -> None:
        if not _runs_at_the_server(running.job, engine):
            logger.info("job %s ran here when the site ended, and is over", running.job)
            running.is_over()
            return
        _end_former_processes(running.job, workspace.get_root_dir())
        meta = json.loads(Path(workspace.get_job_meta_path(running.job)).read_text("utf-8"))
        told = engine.start_app(running.job, job_meta=meta)
        logger.warning("job %s ran here when the site ended, and goes on: %s", running.job, told)


def _runs_at_the_server(job: str, engine: Any) -> bool:
    """Whether the server's process of the job answers a sign of life."""
    server = AuxMsgTarget(FQCN.ROOT_SERVER, FQCN.join([FQCN.ROOT_SERVER, job]), job_scoped=False)
    for _ in range(ASKED):
        with engine.new_context() as fl_ctx:
            replies = engine.aux_runner.send_aux_request(
                targets=[server],
                topic=ReservedTopic.JOB_HEART_BEAT,
                request=Shareable(),
                timeout=ANSWER_S,
                fl_ctx=fl_ctx,
                optional=True,
            )
        reply = replies.get(FQCN.ROOT_SERVER)
        if reply is not None and reply.get_return_code() == ReturnCode.OK:
            return True
        time.sleep(PAUSE_S)
    return False


def _end_former_processes(job: str, kit: str) -> None:
    """Two processes of one job would answer to one name."""
    former = [
        each
        for each in psutil.process_iter(["cmdline"])
        if {job, kit} <= set(each.info["cmdline"] or ())
    ]
    _, alive = psutil.wait_procs(former, timeout=LAST_S)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=LAST_S)
