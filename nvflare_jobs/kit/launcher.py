"""Starts the job processes of a site, such that neither their death nor the site's ends a job.

It stands in ``local/resources.json`` of the kit under the id ``process_launcher``.
"""

from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLContextKey, JobConstants
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobHandleSpec, JobProcessArgs
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.private.fed.client.client_executor import _ABORT_REQUESTED_KEY
from nvflare.private.fed.client.client_status import ClientStatus

from nvflare_jobs.kit.running import RunningJob
from nvflare_jobs.kit.supervised import Process, SupervisedJob

CREDENTIALS = (JobProcessArgs.AUTH_TOKEN, JobProcessArgs.TOKEN_SIGNATURE, JobProcessArgs.SSID)


class JobLauncher(ClientProcessJobLauncher):  # type: ignore[misc]  # FLARE has no types
    """FLARE's own way to start a job process, with somebody who looks after it."""

    def launch_job(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> JobHandleSpec:
        """Start it under the registration with which the job began here.

        The server's job process knows no other: a site that registers anew is a stranger to it.
        """
        job = str(job_meta[JobConstants.JOB_ID])
        folder = Path(fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT).get_run_dir(job))
        running = RunningJob(folder)
        arguments = fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS)
        for name, value in running.known_as(_credentials(arguments)).items():
            arguments[name] = (arguments[name][0], value)
        executor = fl_ctx.get_engine().client_executor

        def launch() -> Process:
            process: Process = super(JobLauncher, self).launch_job(job_meta, fl_ctx).adapter
            return process

        def aborted() -> bool:
            return bool(executor.run_processes.get(job, {}).get(_ABORT_REQUESTED_KEY))

        def may_end() -> bool:
            return aborted() or bool(executor.get_status(job) == ClientStatus.STOPPED)

        def when_over() -> None:
            if not aborted():  # else the site may be stopping, and the job go on elsewhere
                running.is_over()

        return SupervisedJob(launch, folder, may_end, when_over)


def _credentials(arguments: dict[str, tuple[str, Any]]) -> dict[str, str]:
    return {name: str(arguments[name][1]) for name in CREDENTIALS}
