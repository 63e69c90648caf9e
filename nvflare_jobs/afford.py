"""Whether a site can still afford a run, asked before the run begins; nothing is written.

The answer is what the plan would be told that the run makes when it starts. Between asking and
planning another run may take the budget, and then the plan is what counts.
"""

from dataclasses import dataclass, field
from pathlib import Path

from fedefm.config import RunConfig, SiteConfig, read_site
from fedefm.data.manifest import Manifest
from fedefm.train.assemble import check_promises, find_manifest, share_of
from fedefm.train.effort import Effort, steps_of
from nvflare_jobs.protect import dp_of, spent_by, units_of
from nvflare_jobs.shared_noise import honest_shares
from privacy.calibrate import noise_for, sampling_for
from privacy.ledger import Ledger
from privacy.ledger.budget import refuse_overspending
from privacy.mechanism import Spend
from privacy.policy import Promise, promise


def refuse_unaffordable(
    site: str,
    site_file: Path,
    run: RunConfig,
    efforts: tuple[Effort, ...],
    run_id: str = "",
    manifest: Manifest | None = None,
) -> None:
    """Raises PolicyRefused or BudgetExhausted where ``site`` would not plan these ``efforts``,
    and ConfigError where it is larger than the run's secure sums allow for.

    A run without differential privacy spends nothing; the site's policy may refuse it all the same.
    One that is resumed under ``run_id`` and still has its plan needs no second one. ``manifest`` is
    the one of the run's dataset, where it has been read already.
    """
    settings = read_site(site_file)
    check_promises(settings, run, site)
    if run.privacy.dp is None:
        return
    dp, entry = dp_of(run), settings.datasets.get(run.dataset)
    counted = entry.patients if entry and dp.unit == "patient" else None
    if counted is None:  # also where there is no such dataset, which is refused here
        counted = units_of(manifest or find_manifest(site_file, run.dataset), dp)
    pledge = promise(settings, run, site, counted)
    share_of(run, pledge.units, site)
    counts = _counted(site, site_file, settings, pledge, run_id)
    if counts.has_plan or pledge.budget.cap is None:
        return
    sampling, steps = sampling_for(dp, pledge.units), max(steps_of(efforts), 1)
    noise = dp.noise_multiplier or noise_for(
        dp.epsilon or 0.0,
        pledge.delta,
        pledge.adjacency,
        sampling.rate,
        sampling.units,
        sampling.cap,
        steps,
        counts.by_run,
    )
    wanted = {sampling.mechanism(noise, honest_shares(run)): steps}
    refuse_overspending(pledge.dataset, counts.spent, counts.reserved, wanted, pledge.budget)


@dataclass(frozen=True)
class _Counts:
    """Of the dataset: what is spent and reserved, by the run itself, and whether it has a plan."""

    spent: Spend = field(default_factory=dict)
    reserved: Spend = field(default_factory=dict)
    by_run: Spend = field(default_factory=dict)
    has_plan: bool = False


def _counted(
    site: str, site_file: Path, settings: SiteConfig, pledge: Promise, run_id: str
) -> _Counts:
    folder, witness = site_file.parent, settings.ledger_witness
    path = folder / (settings.ledger or "")
    if not path.is_file():  # the first private run of this site; the plan will make the ledger
        return _Counts()
    with Ledger.open(
        path, site, witness=folder / witness if witness else None, read_only=True
    ) as ledger:
        return _Counts(
            ledger.spent(pledge.dataset),
            ledger.reserved(pledge.dataset),
            spent_by(ledger, pledge, run_id),
            ledger.account(pledge.dataset, run_id) is not None,
        )
