"""Private fine-tuning at one site: the same policy, ledger and noise as of a run over many."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from fedefm.config import DpConfig, PrivacyConfig, RunConfig, read_site
from fedefm.data.dataset import FrameDataset
from fedefm.data.manifest import Manifest
from fedefm.data.transforms import Transform
from fedefm.train.optimization import Optimization
from fedefm.train.protection import Protection
from nvflare_jobs.protect import (
    closed_on_error,
    counted_in,
    open_ledger,
    open_plan,
    protection,
    units_of,
    whole_plan,
)
from privacy.gate import Facts, Gate
from privacy.ledger import RunLabel
from privacy.policy import promise


@dataclass(frozen=True)
class FinetuneByLedger:
    """What guards the fine-tuning of ``steps`` steps on one dataset of a site.

    A ``fedefm.finetune.job.Guard``: ``check`` raises PolicyRefused before an image is decoded, and
    the call sets the budget aside or raises BudgetExhausted. A fine-tuning that dies is not
    resumed: what it had not drawn stays set aside until the privacy officer gives it back.
    """

    site: str
    site_file: Path
    dataset: str
    dp: DpConfig
    steps: int

    def check(self, manifest: Manifest) -> None:
        """Raises PolicyRefused with all that the site's file has against it."""
        promise(read_site(self.site_file), self._run, self.site, units_of(manifest, self.dp))

    def __call__(
        self, data: FrameDataset, views: Transform, optimization: Optimization
    ) -> Protection:
        """The protection of training on ``data``, varied by ``views``."""
        settings, dp, run_id = read_site(self.site_file), self.dp, secrets.token_hex(16)
        pledge = promise(settings, self._run, self.site, counted_in(data, dp))
        ledger = open_ledger(self.site, self.site_file, settings)
        with closed_on_error(ledger, self.site):
            label = RunLabel(run_id, self._run.name)
            account = open_plan(ledger, label, pledge, dp, self.steps)
            planned = whole_plan(dp, self.steps, pledge, account)
            facts = Facts(dp.clip_norm, dp.frames_per_patient, dp.epsilon)
            gate = Gate(self.site, run_id, ledger, account, pledge, facts, planned)
            return protection(data, dp, account, gate, pledge, optimization, views, data.classes)

    @property
    def _run(self) -> RunConfig:
        """What a policy is held against."""
        return RunConfig(name="finetune", dataset=self.dataset, privacy=PrivacyConfig(dp=self.dp))
