"""A server that starts again says of what ran before that it is over, with FLARE's own runner."""

from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import RunStatus
from nvflare.private.fed.server.job_runner import JobRunner

from nvflare_jobs.kit.lost_jobs import LostJobs


class JobManager:
    """Jobs and how they stand; keeps what it is told to."""

    def __init__(self, **jobs: RunStatus) -> None:
        self.jobs = jobs

    def get_jobs_by_status(self, wanted: list[RunStatus], fl_ctx: FLContext) -> list[Any]:
        return [
            SimpleNamespace(job_id=job) for job, status in self.jobs.items() if status in wanted
        ]

    def set_status(self, job: str, status: RunStatus, fl_ctx: FLContext) -> None:
        self.jobs[job] = status


def started(manager: JobManager, event: str = EventType.SYSTEM_BOOTSTRAP) -> None:
    engine = SimpleNamespace(
        job_runner=JobRunner(workspace_root="unused"), get_component=lambda name: manager
    )
    LostJobs().handle_event(event, SimpleNamespace(get_engine=lambda: engine))


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.DISPATCHED])
def test_what_ran_when_the_server_ended_is_lost(status: RunStatus) -> None:
    manager = JobManager(job=status)
    started(manager)
    assert manager.jobs == {"job": RunStatus.ABANDONED}


def test_what_waits_or_is_over_stays_as_it_is() -> None:
    before = {"waits": RunStatus.SUBMITTED, "over": RunStatus.FINISHED_COMPLETED}
    manager = JobManager(**before)
    started(manager)
    assert manager.jobs == before


def test_jobs_that_run_now_are_left_alone() -> None:
    manager = JobManager(job=RunStatus.RUNNING)
    started(manager, EventType.START_RUN)
    assert manager.jobs == {"job": RunStatus.RUNNING}


def test_a_store_that_cannot_be_read_keeps_no_server_from_starting() -> None:
    started(SimpleNamespace())
