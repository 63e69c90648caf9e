"""Fine-tuning on a site's dataset: its file says where the images are and what it allows."""

from pathlib import Path

from fedefm.config import DpConfig, PrivacyConfig, RunConfig, read_site
from fedefm.errors import ConfigError
from fedefm.train.assemble import check_promises
from nvflare_jobs.commands.privacy_site import site_of
from nvflare_jobs.protect_finetuning import FinetuneByLedger


def dataset_at(site_file: Path, dataset: str, dp: DpConfig | None) -> Path:
    """The manifest of ``dataset``. Raises PolicyRefused where the site wants it trained privately.

    Raises ConfigError for a dataset that the site does not have.
    """
    site = read_site(site_file)
    if dataset not in site.datasets:
        known = ", ".join(sorted(site.datasets)) or "none"
        raise ConfigError(f"dataset {dataset!r} is not in {site_file}, which knows {known}")
    run = RunConfig(name="finetune", dataset=dataset, privacy=PrivacyConfig(dp=dp))
    check_promises(site, run, site_file.absolute().parent.name)
    return site_file.parent / site.datasets[dataset].manifest


def guard_for(site_file: Path, dataset: str, dp: DpConfig, steps: int) -> FinetuneByLedger:
    """What guards the training of ``steps`` private steps on ``dataset``."""
    return FinetuneByLedger(site_of(site_file).name(), site_file, dataset, dp, steps)
