"""The site's own word on a job before it runs there: refused where the budget does not cover it,
or where its secure sums would not hide the site as its file demands.

It stands in the site's resources for the parent process, under the id with which FLARE looks for
what deploys jobs. So it sees the job itself, and what it refuses ends: the server counts the site
as failed, lists the sentence in the job's ``job_deploy_detail``, and goes on with the other sites
if they are enough. A veto of FLARE's resource check would be tried again for hours instead.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace
from nvflare.private.fed.utils.app_deployer import AppDeployer

import fedefm.model  # noqa: F401 - before anything imports torchvision
from fedefm.errors import ConfigError
from fedefm.train.assemble import check_share, find_manifest
from fedefm.train.effort import efforts
from nvflare_jobs.afford import refuse_unaffordable
from nvflare_jobs.parties import places
from nvflare_jobs.parties.deployed import CONFIG, LONGEST, refuse_claims, stranger, terms_in
from nvflare_jobs.parties.identities import pins_of
from nvflare_jobs.parties.reasons import tell_reason
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.terms import Terms
from nvflare_jobs.secure import refuse_unhidden


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
            refuse_claims(job_meta)
            self._check(_terms(app_data), workspace)
        except Exception as error:  # in doubt the job does not run
            return tell_reason(error)
        return str(super().deploy(workspace, job_id, job_meta, app_name, app_data, fl_ctx) or "")

    def _check(self, terms: Terms, workspace: Workspace) -> None:
        site, run = workspace.site_name, terms.run
        if site not in terms.sites:
            raise ConfigError(f"site {site!r} is not among the sites of this job's terms")
        local = Path(workspace.get_site_config_dir())
        site_file = places.site_file(site, local)
        pins_of(site, local, terms.sites)
        state = places.state_folder(site, run.name, Path(workspace.get_root_dir()))
        saved = SavedRun(site, state, terms)
        begin = max(saved.rounds(), default=0) if terms.resume else 0
        ahead = efforts(run, terms.plan().schedule, site, begin)
        refuse_unaffordable(site, site_file, run, ahead, saved.run_id)
        if run.privacy.secagg is not None:
            check_share(run, site, find_manifest(site_file, run.dataset))
            refuse_unhidden({site: site_file}, run, terms.plan())


def _terms(app_data: bytes) -> Terms:
    """The terms in a packed app, which holds nothing else. Raises ConfigError."""
    try:
        with zipfile.ZipFile(io.BytesIO(app_data)) as app:
            files = [entry for entry in app.infolist() if not entry.is_dir()]
            others = sorted({file.filename for file in files} - {CONFIG})
            if any(name.startswith("custom/") for name in others):
                raise stranger("it brings code, and sites run only what is installed there")
            if others or len(files) > 1:
                raise stranger(f"it brings {len(files) - 1} files beside {CONFIG}")
            if files and files[0].file_size > LONGEST:
                raise stranger(f"its settings are longer than {LONGEST} characters")
            text = app.read(CONFIG).decode()
    except (KeyError, UnicodeDecodeError, zipfile.BadZipFile):
        raise ConfigError("this is no job of this project: it has no configuration") from None
    return terms_in(text)
