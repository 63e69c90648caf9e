"""A job process that is started again when it dies, for one that is gone ends the whole job.

FLARE 2.9 tells the server of a job process that was killed as of a failed job, and the server ends
it for all sites. Here the process comes back under the same name, and the server never hears of
it; after too many deaths in a row it is told that the job ended here, and the others go on.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.job_launcher_spec import JobHandleSpec, JobReturnCode
from nvflare.fuel.common.exit_codes import ProcessExitCode

logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 4.0, 16.0, 64.0)  # before it is started again, by how often it died in a row
LASTING_S = 600.0  # a process that lived so long did not die in a row with the last
FOR_GOOD = (  # what would only happen again
    ProcessExitCode.UNSAFE_COMPONENT,
    ProcessExitCode.CONFIG_ERROR,
    ProcessExitCode.INFRASTRUCTURE_ERROR,
)


class Process(Protocol):
    """As FLARE's process adapter; ``poll`` gives minus the signal that ended it."""

    def poll(self) -> int | None: ...
    def wait(self) -> None: ...
    def terminate(self) -> None: ...


class SupervisedJob(JobHandleSpec):
    """FLARE's handle of one job at a site.

    Args:
        launch: starts the process, each time in the same way.
        folder: of the job, where FLARE's processes leave word of how they ended.
        may_end: whether the process is done with the job, or was asked to abort it.
        when_over: called once, when the job is over here and no process of it is left.
        pauses_s: seconds before each new start; so many deaths in a row are outlived.
    """

    def __init__(
        self,
        launch: Callable[[], Process],
        folder: Path,
        may_end: Callable[[], bool],
        when_over: Callable[[], None],
        pauses_s: tuple[float, ...] = PAUSES_S,
        lasting_s: float = LASTING_S,
    ) -> None:
        self._launch, self._may_end, self._when_over = launch, may_end, when_over
        self._word = folder / FLMetaKey.PROCESS_RC_FILE
        self._name = folder.name
        self._pauses_s, self._lasting_s = pauses_s, lasting_s
        self._told_to_end = threading.Event()
        self._starting = threading.Lock()  # none is started after it was told to end
        self._deaths = 0  # in a row
        self._code: int | None = None  # of the job, once it is over
        self._process = self._start()

    def terminate(self) -> None:
        """End the process at once; it stays ended."""
        self._told_to_end.set()
        with self._starting:
            self._process.terminate()

    def poll(self) -> int:
        """FLARE's word for how the job ended here; that it is not known yet while it goes on."""
        return JobReturnCode.UNKNOWN if self._code is None else self._code

    def wait(self) -> None:
        """Until the job is over here, through all deaths of its process."""
        while self._code is None:
            self._process.wait()
            code = self._process.poll()
            if not self._died(code):
                self._code = _told(code)
            elif not self._goes_on(code):
                self._word.unlink(missing_ok=True)
                self._code = JobReturnCode.SUCCESS  # anything else would end it for all sites
        self._when_over()

    def _start(self) -> Process:
        self._started = time.monotonic()
        return self._launch()

    def _died(self, code: int | None) -> bool:
        """Whether it ended without having been told to, by something that may not happen again."""
        orderly = code == 0 or code in FOR_GOOD
        return not (orderly or self._told_to_end.is_set() or self._may_end())

    def _goes_on(self, code: int | None) -> bool:
        """Start it again after a pause, unless it dies too often or is told to end meanwhile."""
        if time.monotonic() - self._started >= self._lasting_s:
            self._deaths = 0
        if self._deaths == len(self._pauses_s):
            logger.error(
                "job %s: its process died again (%s) and is not started any more; "
                "the other sites go on without this one",
                self._name,
                code,
            )
            return False
        pause_s = self._pauses_s[self._deaths]
        self._deaths += 1
        logger.warning(
            "job %s: its process died (%s); it is started again in %g s, for the %d. time of %d",
            self._name,
            code,
            pause_s,
            self._deaths,
            len(self._pauses_s),
        )
        self._told_to_end.wait(pause_s)
        with self._starting:
            if self._told_to_end.is_set() or self._may_end():
                return False
            self._word.unlink(missing_ok=True)
            self._process = self._start()
        return True


def _told(code: int | None) -> int:
    """FLARE's name of a process' exit code."""
    known = (*FOR_GOOD, JobReturnCode.SUCCESS, JobReturnCode.ABORTED)
    return code if code is not None and code in known else JobReturnCode.EXECUTION_ERROR
