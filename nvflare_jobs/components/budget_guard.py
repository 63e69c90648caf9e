"""The site's own word on a job before it runs there, by all that ``admission.checks`` looks at.

It stands in the site's resources for the parent process, under the id with which FLARE looks for
what deploys jobs. So it sees the job itself, and what it refuses ends: the server counts the site
as failed, lists the sentence in the job's ``job_deploy_detail``, and goes on with the other sites
if they are enough. A veto of FLARE's resource check would be tried again for hours instead.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.workspace import Workspace
from nvflare.private.fed.utils.app_deployer import AppDeployer

from fedefm.config import SITE_FILE
from fedefm.errors import ConfigError
from nvflare_jobs.admission.checks import refuse_unwelcome
from nvflare_jobs.admission.question import Question
from nvflare_jobs.parties import places
from nvflare_jobs.parties.deployed import (
    CONFIG,
    LONGEST,
    refuse_claims,
    refuse_files,
    refuse_own_launch,
    stranger,
)
from nvflare_jobs.parties.reasons import discretion_of, tell_reason

JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class BudgetGuard(AppDeployer, FLComponent):
    """Deploys only jobs that the site's policy and ledger allow.

    What the job says it would spend is computed from its terms, and trusted for nothing else: the
    executor plans in the ledger when it starts, and each step is reserved there.
    """

    def deploy(
        self,
        workspace: Workspace,
        job_id: str,
        job_meta: dict[str, Any],
        app_name: str,
        app_data: bytes,
        fl_ctx: FLContext,
    ) -> str:
        """Empty, or why the site refuses the job; then nothing of it is on the disk."""
        try:
            _refuse_folder(job_id)
            refuse_claims(job_meta)
            refuse_own_launch(job_meta)
            refuse_unwelcome(_question(_config(app_data), job_meta, workspace, fl_ctx))
        except Exception as error:  # in doubt the job does not run
            site_file = Path(workspace.get_site_config_dir()) / SITE_FILE
            return tell_reason(error, discretion_of(site_file, places.simulated()))
        return str(super().deploy(workspace, job_id, job_meta, app_name, app_data, fl_ctx) or "")


def _refuse_folder(job_id: str) -> None:
    """FLARE clears the folder of this name in the kit, whatever is in it."""
    if not JOB_ID.fullmatch(job_id):
        raise ConfigError(f"{job_id[:64]!r} is no id that FLARE gives to a job")


def _question(
    config: str, job_meta: Mapping[str, Any], workspace: Workspace, fl_ctx: FLContext
) -> Question:
    return Question(
        site=workspace.site_name,
        config=config,
        scope=str(job_meta.get(JobMetaKey.SCOPE, "")),
        kit=workspace.get_root_dir(),
        local=workspace.get_site_config_dir(),
        encrypted=bool(fl_ctx.get_prop(FLContextKey.SECURE_MODE)),
    )


def _config(app_data: bytes) -> str:
    """The configuration in a packed app, which holds nothing else. Raises ConfigError."""
    try:
        with zipfile.ZipFile(io.BytesIO(app_data)) as app:
            refuse_files([file.filename for file in app.infolist() if not file.is_dir()], CONFIG)
            if app.getinfo(CONFIG).file_size > LONGEST:
                raise stranger(f"its settings are longer than {LONGEST} characters")
            return app.read(CONFIG).decode()
    except (KeyError, UnicodeDecodeError, zipfile.BadZipFile):
        raise ConfigError("this is no job of this project: it has no configuration") from None
