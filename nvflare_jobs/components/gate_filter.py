"""The site's own filter: whatever a job runs, only this protocol leaves, and only as it may.

It stands in the site's ``privacy.json``, in direction ``out``, for task data (messages to other
parties) and for results (answers to the coordinator). It knows a message, which must carry an entry
of the site's ledger where the run is private; an answer, which may hold known numbers only; and an
empty acknowledgment. All else, and any doubt, stops: FLARE sends nothing where a filter raises.
It returns what it was given, since FLARE 2.9 would send the unfiltered data in place of a new one.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvflare.apis.filter import Filter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from fedefm.config import SiteConfig, read_site
from fedefm.errors import FedEFMError, PolicyRefused
from fedefm.train.header import Header
from fedefm.train.outline import read_outline
from nvflare_jobs.parties import messages, places
from nvflare_jobs.parties.answers import check_answer, tellable
from nvflare_jobs.parties.deployed import deployed_terms
from nvflare_jobs.parties.phases import check_hidden
from nvflare_jobs.parties.terms import Terms
from privacy.gate import PREFIX
from privacy.ledger.watching import WatchedLedger

HEADERS = {  # what FLARE and we have put there when a filter looks
    ReservedHeaderKey.CONTENT_TYPE,
    ReservedHeaderKey.RC,
    ReservedHeaderKey.TASK_NAME,
}
LONGEST = 64  # characters of a header's value
ACKNOWLEDGMENT, CONTENT = {ReservedHeaderKey.HEADERS}, {ReservedHeaderKey.HEADERS, "DXO"}


@dataclass(frozen=True)
class _Job:
    """What the filter goes by: the site's own file, and the job as FLARE deployed it."""

    site: str
    job_id: str
    terms: Terms
    site_file: Path
    settings: SiteConfig
    state_folder: Path

    @property
    def private(self) -> bool:
        return self.terms.run.privacy.dp is not None

    @property
    def must_be_private(self) -> bool:
        policy = self.settings.policy
        return self.private or policy.require_dp or policy.epsilon_cap is not None


class GateFilter(Filter):
    """Lets out what the site's policy and ledger cover. It has no settings that a job could set."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()  # messages to several receivers leave at once
        self._job: _Job | None = None
        self._ledger: WatchedLedger | None = None

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """The very ``shareable``. Raises PolicyRefused where it must not leave."""
        try:
            with self._lock:
                self._check(shareable, self._about(fl_ctx))
        except PolicyRefused as error:
            raise PolicyRefused(f"nothing leaves: {error}") from None
        except FedEFMError as error:
            raise PolicyRefused(f"nothing leaves: {type(error).__name__}: {error}") from error
        return shareable

    def _about(self, fl_ctx: FLContext) -> _Job:
        job_id = str(fl_ctx.get_job_id())
        if self._job is None or self._job.job_id != job_id:
            workspace, site = fl_ctx.get_workspace(), fl_ctx.get_identity_name()
            terms = deployed_terms(Path(workspace.get_client_app_config_file_path(job_id)))
            site_file = places.site_file(site, Path(workspace.get_site_config_dir()))
            state = places.state_folder(site, terms.run.name, Path(workspace.get_root_dir()))
            settings = read_site(site_file)
            self._job = _Job(site, job_id, terms, site_file, settings, state)
            self._ledger = None
        return self._job

    def _check(self, shareable: Shareable, job: _Job) -> None:
        headers: Mapping[str, Any] = shareable.get(ReservedHeaderKey.HEADERS) or {}
        for name, value in headers.items():
            if name not in HEADERS or not isinstance(value, str) or len(value) > LONGEST:
                raise PolicyRefused(f"it has a header {name!r} that is not of this protocol")
        if set(shareable) == ACKNOWLEDGMENT:
            return
        if set(shareable) != CONTENT:
            raise PolicyRefused("it is neither a message nor an answer of this protocol")
        if messages.is_message(shareable):
            message = read_outline(messages.message_bytes(shareable))
            check_hidden(message, job.terms.run)
            self._check_message(message.header, job)
        else:
            numbers = messages.unpack_numbers(shareable)
            private = job.must_be_private
            allowed = tellable(job.settings.policy, job.terms.run, private)
            check_answer(numbers, allowed, private)

    def _check_message(self, header: Header, job: _Job) -> None:
        wanted = (job.terms.run.name, job.job_id, job.site)
        if (header.job, header.run_id, header.sender) != wanted:
            raise PolicyRefused(
                f"a message says that it is of {header.sender!r} in job {header.run_id!r} of "
                f"{header.job!r}, and this is {wanted[2]!r} in {wanted[1]!r} of {wanted[0]!r}"
            )
        if header.mechanism == "none" and not job.must_be_private:
            return
        if not self._is_settled(header.mechanism, job):
            raise PolicyRefused(
                f"the message to {header.receiver!r} (round {header.round}, {header.phase}) has "
                f"{header.mechanism!r}, which is no settled entry of this run in the ledger"
            )

    def _is_settled(self, mechanism: str, job: _Job) -> bool:
        run_id, path = places.run_id(job.state_folder), job.settings.ledger
        if not mechanism.startswith(PREFIX) or run_id is None or path is None:
            return False
        if self._ledger is None:
            folder, witness = job.site_file.parent, job.settings.ledger_witness
            self._ledger = WatchedLedger(
                folder / path, job.site, folder / witness if witness else None
            )
        return self._ledger.is_settled(mechanism.removeprefix(PREFIX), run_id)
