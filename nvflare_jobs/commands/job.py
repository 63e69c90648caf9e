"""``fedefm job``: a run file as a job for NVIDIA FLARE, and what becomes of it."""

import typer

from nvflare_jobs.commands import job_abort, job_download, job_export, job_status, job_submit
from nvflare_jobs.commands import job_watch as watching

jobs = typer.Typer(
    help="Hand run files to real sites as jobs of NVIDIA FLARE, watch them, take what they leave.",
    no_args_is_help=True,
    add_completion=False,
)
for command in (
    job_export.export,
    job_submit.submit,
    job_status.status,
    watching.watch,
    job_abort.abort,
    job_download.download,
):
    jobs.command()(command)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(jobs, name="job")
