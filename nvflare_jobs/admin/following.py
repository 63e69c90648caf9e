"""A job from here to its end: asked gently, for each question is a line in the server's audit log.

A server that goes away is asked again for a while, since it may be restarted.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedefm.errors import PolicyRefused, ProtocolError
from fedefm.events import Event, parsed_events
from nvflare_jobs.admin.flare_words import ServerGone
from nvflare_jobs.admin.job_facts import OVER, RUNNING, JobFacts, facts_of
from nvflare_jobs.admin.server import Server

QUICK_S, SLOW_S, SLOWER = 2.0, 15.0, 1.5  # between two questions: while much happens, or little
GIVE_UP_S = 600.0  # a server that is gone so long


@dataclass(frozen=True)
class Look:
    """What one look at a job has shown. None and empty: nothing new about that."""

    facts: JobFacts | None = None
    events: tuple[Event, ...] = ()
    standing: Mapping[str, Any] = field(default_factory=dict)  # who is waited for now
    ended: Mapping[str, str] | None = None  # what the job says of its own end
    trouble: str = ""  # why nothing can be seen at the moment

    @property
    def is_new(self) -> bool:
        """Whether there may soon be more."""
        return bool(self.events or self.ended)


def follow(
    log_in: Callable[[], Server],
    job: str,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Look]:
    """Looks at the job until it is over; the last one has the facts of that.

    Raises ServerGone where the server stays away, ConfigError where it knows no such job.
    """
    looking, pace, gone_since = _Looking(job), QUICK_S, clock()
    server: Server | None = None
    try:
        while True:
            try:
                server = server or log_in()
                look = looking.look(server)
                gone_since = clock()
            except ServerGone as error:
                _leave(server)
                server = None
                if clock() - gone_since > GIVE_UP_S:
                    raise
                look = Look(trouble=str(error))
            yield look
            if look.facts is not None and look.facts.stage == OVER:
                return
            pace = QUICK_S if look.is_new else min(pace * SLOWER, SLOW_S)
            sleep(pace)
    finally:  # a session that stays open has a thread that keeps the program from ending
        _leave(server)


def first_look(server: Server, job: str) -> Look:
    """How the job stands, with all that it has told so far."""
    return _Looking(job).look(server)


class _Looking:
    """Where the last look ended."""

    def __init__(self, job: str) -> None:
        self._job, self._offset = job, 0
        self._facts: JobFacts | None = None
        self._may_see = True  # the role of who asks has the right to the job's own account

    def look(self, server: Server) -> Look:
        before = self._facts
        if before is None or before.stage != RUNNING:
            self._facts = facts_of(server.meta(self._job))
            if self._facts.stage != RUNNING:
                return Look(self._facts)
        told = self._told(server) if self._may_see else None
        if told is None or told.ended is not None:  # nothing to hear, or soon nothing any more
            self._facts = facts_of(server.meta(self._job))
        told = told or Look()
        return Look(self._facts, told.events, told.standing, told.ended, told.trouble)

    def _told(self, server: Server) -> Look | None:
        events: list[Event] = []
        while True:
            try:
                told = server.progress(self._job, self._offset)
            except PolicyRefused as error:
                self._may_see = False
                return Look(trouble=f"only the server's own word on the job is shown: {error}")
            except ProtocolError:  # it does not answer yet, or not any more, or the server is gone
                return Look(events=tuple(events)) if events else None
            text, self._offset = str(told.get("events", "")), int(told.get("next", self._offset))
            events += parsed_events(text.splitlines())
            if not text:
                return Look(None, tuple(events), told.get("standing") or {}, told.get("ended"))


def _leave(server: Server | None) -> None:
    if server is not None:
        server.close()
