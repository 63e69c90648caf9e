"""The death of a job's process is outlived, and a word to end is obeyed at once."""

import threading
from pathlib import Path

from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.fuel.common.exit_codes import ProcessExitCode

from nvflare_jobs.kit.supervised import SupervisedJob

KILLED, PAUSES_S = -9, (0.0, 0.0)


class Life:
    """A process that ends with ``code``, at once or when it is terminated."""

    def __init__(self, code: int | None) -> None:
        self.code, self.ended = code, threading.Event()
        if code is not None:
            self.ended.set()

    def poll(self) -> int | None:
        return self.code

    def wait(self) -> None:
        assert self.ended.wait(10)

    def terminate(self) -> None:
        self.code = KILLED
        self.ended.set()


class Launches:
    """Starts one life after the other, and counts them."""

    def __init__(self, *codes: int | None) -> None:
        self.lives = [Life(code) for code in codes]
        self.count = 0
        self.over = 0

    def __call__(self) -> Life:
        self.count += 1
        return self.lives[self.count - 1]

    def end(self) -> None:
        self.over += 1


def job_of(launches: Launches, folder: Path, may_end: bool = False, lasting_s: float = 60.0):
    return SupervisedJob(launches, folder, lambda: may_end, launches.end, PAUSES_S, lasting_s)


def test_a_killed_process_is_started_again_and_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    launches = Launches(KILLED, KILLED, 0)
    job = job_of(launches, tmp_path)
    assert job.poll() == JobReturnCode.UNKNOWN
    job.wait()
    assert (launches.count, launches.over, job.poll()) == (3, 1, JobReturnCode.SUCCESS)


def test_one_that_dies_each_time_ends_quietly_and_not_the_whole_job(tmp_path: Path) -> None:
    word = tmp_path / FLMetaKey.PROCESS_RC_FILE
    word.write_text(str(ProcessExitCode.EXCEPTION))  # which FLARE would believe
    launches = Launches(KILLED, ProcessExitCode.EXCEPTION, KILLED, 0)
    job = job_of(launches, tmp_path)
    job.wait()
    assert (launches.count, job.poll()) == (3, JobReturnCode.SUCCESS)
    assert not word.exists()


def test_deaths_that_are_far_apart_are_not_counted_together(tmp_path: Path) -> None:
    launches = Launches(KILLED, KILLED, KILLED, KILLED, 0)
    job_of(launches, tmp_path, lasting_s=0.0).wait()
    assert launches.count == 5


def test_a_process_that_was_told_to_end_stays_ended(tmp_path: Path) -> None:
    launches = Launches(None, 0)
    job = job_of(launches, tmp_path)
    job.terminate()
    job.wait()
    assert (launches.count, job.poll()) == (1, JobReturnCode.EXECUTION_ERROR)


def test_a_word_to_end_is_obeyed_between_two_lives(tmp_path: Path) -> None:
    launches = Launches(KILLED, 0)
    job = SupervisedJob(launches, tmp_path, lambda: False, launches.end, pauses_s=(3600.0,))
    waiting = threading.Thread(target=job.wait, daemon=True)
    waiting.start()
    job.terminate()
    waiting.join(10)
    assert (waiting.is_alive(), launches.count) == (False, 1)


def test_a_job_that_is_aborted_between_two_lives_is_not_started_again(tmp_path: Path) -> None:
    launches, aborted = Launches(KILLED, 0), iter((False, True))  # when it dies, after the pause
    job = SupervisedJob(launches, tmp_path, lambda: next(aborted), launches.end, PAUSES_S)
    job.wait()
    assert (launches.count, launches.over) == (1, 1)


def test_what_dies_while_it_ends_is_not_started_again(tmp_path: Path) -> None:
    launches = Launches(KILLED, 0)
    job_of(launches, tmp_path, may_end=True).wait()
    assert launches.count == 1


def test_what_would_only_fail_again_is_told_to_flare(tmp_path: Path) -> None:
    launches = Launches(ProcessExitCode.UNSAFE_COMPONENT, 0)
    job = job_of(launches, tmp_path)
    job.wait()
    assert (launches.count, job.poll()) == (1, ProcessExitCode.UNSAFE_COMPONENT)
