"""The server's own word on a job: refused where it brings code, claims, or anything but its terms.

It stands in the server's resources for the parent process, as FLARE's ``app_validator``. As a
component it hears of each job that is submitted, and what it blocks is never stored: the submitter
reads the sentence at once. As a validator it sees the server's part of a job when that is deployed,
and what it refuses stands in the job's ``job_deploy_detail``. FLARE itself would refuse another
class only in the job's process, and tell nobody why.
"""

from pathlib import Path
from typing import Any

from nvflare.apis.app_validation import AppValidationKey, AppValidator
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from nvflare_jobs.parties.deployed import (
    CODE,
    SERVER_CONFIG,
    refuse_claims,
    refuse_files,
    refuse_own_launch,
    server_terms_in,
    stranger,
)
from nvflare_jobs.parties.reasons import ALL, tell_reason


class ServerGuard(FLComponent, AppValidator):  # type: ignore[misc]  # FLARE has no types
    """Lets only jobs of this project be stored and deployed at the server."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Look at a job that somebody submits."""
        if event_type != EventType.SUBMIT_JOB:
            return
        meta = fl_ctx.get_prop(FLContextKey.JOB_META) or {}
        try:
            refuse_claims(meta)
            refuse_own_launch(meta)
            if meta.get(AppValidationKey.BYOC):
                raise stranger(CODE)
        except Exception as error:  # in doubt the job is not taken
            fl_ctx.set_prop(
                FLContextKey.JOB_BLOCK_REASON, tell_reason(error), private=True, sticky=False
            )

    def validate(self, app_folder: str) -> tuple[str, dict[str, Any]]:
        """Empty, or why the server refuses what was unpacked in ``app_folder``.

        It has looked at nothing but the job, so its submitter may read all of it, paths included.
        """
        try:
            self._check(Path(app_folder))
        except Exception as error:
            return tell_reason(error, ALL), {}
        return "", {}

    @staticmethod
    def _check(app: Path) -> None:
        files = [str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()]
        refuse_files(files, SERVER_CONFIG)
        try:
            text = (app / SERVER_CONFIG).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise stranger("its configuration for the server cannot be read") from None
        server_terms_in(text)
