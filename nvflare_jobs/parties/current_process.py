"""The training process that a site has now, and how far it is: one lock for all threads."""

import threading

from nvflare_jobs.parties.child import Child


class CurrentProcess:
    """What those who ask, bring mail, and start processes know in common, each in its thread.

    Whoever changes it holds ``changed``, but to forget deaths, and notifies who may wait for it.
    ``child`` may be looked at without the lock: it can be gone at any time anyway.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.child: Child | None = None
        self.listening = False
        self.catching_up: Child | None = None  # which is being given what was held
        self.begun = -1  # the newest round of which a process may have begun something
        self.deaths = 0  # in a row
        self.refusal = ""  # why no process is started any more
        self.closing = False
