"""The server as a logged-in person sees it: the few commands of FLARE's that jobs need."""

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

from nvflare_jobs.admin.flare_words import in_our_words
from nvflare_jobs.admin.knocking import knock
from nvflare_jobs.admin.person_kit import PersonKit
from nvflare_jobs.parties.telling_progress import PROGRESS

logging.getLogger("nvflare").addHandler(logging.NullHandler())  # what fails is raised, and told
LOGIN_S = 30.0
COMMAND_S = 60.0
PROGRESS_S = 10.0  # a job's process that has just begun answers nobody
# FLARE gives up after 5 s in which the server only packs what it will send, as it does for minutes
# with a result of several gigabytes.
DOWNLOAD_S = 3600.0


class Server(Protocol):
    """What a person may ask of the server. All of it raises FedEFMError, in sentences."""

    who: str

    def connected_sites(self) -> list[str]: ...
    def submit(self, job: Path) -> str: ...
    def meta(self, job: str) -> dict[str, Any]: ...
    def jobs(self) -> Sequence[Mapping[str, Any]]: ...
    def progress(self, job: str, after: int) -> dict[str, Any]: ...
    def abort(self, job: str) -> None: ...
    def download(self, job: str, folder: Path) -> Path: ...
    def close(self) -> None: ...


class FlareServer:
    """The same over FLARE's own session."""

    def __init__(self, session: Session, kit: PersonKit) -> None:
        self._session, self.who, self._address = session, kit.name, kit.server

    def connected_sites(self) -> list[str]:
        """Those that the server has heard of lately."""
        with self._doing("asking which sites are connected"):
            return sorted(client.name for client in self._session.get_connected_client_list())

    def submit(self, job: Path) -> str:
        """Hand in the job in a folder; FLARE's id of it."""
        with self._doing("submitting a job"):
            return str(self._session.submit_job(str(job.resolve())))

    def meta(self, job: str) -> dict[str, Any]:
        """What FLARE has written down of a job."""
        with self._doing("looking at a job"):
            return dict(self._session.get_job_meta(job))

    def jobs(self) -> Sequence[Mapping[str, Any]]:
        """All jobs, the newest first."""
        with self._doing("listing jobs"):
            return list(self._session.list_jobs(detailed=True, reverse=True))

    def progress(self, job: str, after: int) -> dict[str, Any]:
        """What the running job tells of itself; events from ``after`` on."""
        with self._doing("watching a job"), self._waiting(PROGRESS_S):
            return dict(self._session.do_app_command(job, PROGRESS, {"after": after}))

    def abort(self, job: str) -> None:
        """End a job, or take back one that has not begun."""
        with self._doing("aborting a job"):
            self._session.abort_job(job)

    def download(self, job: str, folder: Path) -> Path:
        """Everything that FLARE keeps of a job that is over, as a new folder in ``folder``."""
        with self._doing("downloading a job"), self._waiting(DOWNLOAD_S):
            self._session.api.file_download_progress_timeout = DOWNLOAD_S
            return Path(self._session.download_job_result(job, str(folder)))

    def close(self) -> None:
        """Log out; a server that is gone already is no matter."""
        with contextlib.suppress(Exception), _quiet():
            self._session.close()

    @contextmanager
    def _waiting(self, seconds: float) -> Iterator[None]:
        self._session.set_timeout(seconds)
        try:
            yield
        finally:
            self._session.set_timeout(COMMAND_S)

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        with _quiet(), in_our_words(self.who, what, self._address):
            yield


@contextmanager
def logged_in(kit: PersonKit) -> Iterator[FlareServer]:
    """The server, until the block ends. Raises ServerGone, PolicyRefused where there is none."""
    server = log_in(kit)
    try:
        yield server
    finally:
        server.close()


def log_in(kit: PersonKit) -> FlareServer:
    """The server of the project that ``kit`` is of; to be closed.

    Raises ServerGone within half a minute where it does not answer, and PolicyRefused.
    """
    knock(kit)
    with _quiet(), in_our_words(kit.name, "logging in", kit.server):
        session = new_secure_session(
            kit.name, str(kit.folder), timeout=LOGIN_S, command_timeout=COMMAND_S,
            auto_login_max_tries=1,
        )  # fmt: skip
    return FlareServer(session, kit)


@contextmanager
def _quiet() -> Iterator[None]:
    """FLARE prints what it does to standard output, where results belong; errors it raises."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
