"""From a site's own file and a private run to what guards its training: the one composition.

The same in one process, in FLARE and for fine-tuning: policy, ledger, noise, trainer, mean, gate.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedefm.config import DpConfig, RunConfig, SiteConfig, read_site
from fedefm.data.dataset import FrameDataset
from fedefm.data.loading import training_rows
from fedefm.data.manifest import Manifest
from fedefm.data.transforms import Transform
from fedefm.errors import PolicyRefused, PrivacyError
from fedefm.train.assemble import optimization_of, share_of, transform_of
from fedefm.train.effort import Effort, steps_of
from fedefm.train.optimization import Optimization
from fedefm.train.protection import Protection
from fedefm.words import several
from nvflare_jobs.shared_noise import honest_shares, no_mean, shares_of_model
from privacy.accountant import ACCOUNTANT, epsilon
from privacy.calibrate import Sampling, noise_for, sampling_for
from privacy.costs import costs
from privacy.dp.automatic import ChosenGradients
from privacy.dp.gradients import Clip, Gradients
from privacy.dp.mean import PrivateMean
from privacy.dp.sharing import SharingTrainer
from privacy.dp.trainer import PrivateTrainer
from privacy.gate import Facts, Gate, shared_noise
from privacy.ledger import Account, Head, Ledger, RunLabel
from privacy.mechanism import Spend, together
from privacy.policy import Promise, promise
from privacy.secagg.noise_shares import NoiseShares


class ByLedger:
    """Protects each site of a run by the policy and the ledger of its own file.

    A ``fedefm.train.protection.Protect``. ``job`` is FLARE's job id, and ``known_heads`` are the
    newest ledger entries that somebody outside the sites remembers.
    """

    def __init__(self, job: str = "", known_heads: dict[str, Head] | None = None) -> None:
        self._job, self._known_heads = job, known_heads or {}

    def check(self, site: str, site_file: Path, run: RunConfig, manifest: Manifest) -> None:
        """Raises PolicyRefused with all that the site's file has against ``run``.

        Raises ConfigError where the site has more patients than the run's secure sums allow for.
        """
        pledge = promise(read_site(site_file), run, site, units_of(manifest, dp_of(run)))
        share_of(run, pledge.units, site)

    def __call__(
        self,
        site: str,
        site_file: Path,
        run: RunConfig,
        efforts: tuple[Effort, ...],
        run_id: str,
        data: FrameDataset,
    ) -> Protection:
        """The protection of ``site`` for the rounds of ``efforts``, all of whose steps are planned.

        Raises PolicyRefused and BudgetExhausted, with nothing planned, and what opening a ledger
        raises.
        """
        settings, dp = read_site(site_file), dp_of(run)
        pledge = promise(settings, run, site, counted_in(data, dp))
        ledger = open_ledger(site, site_file, settings, self._known_heads.get(site))
        with closed_on_error(ledger, site):
            label = RunLabel(run_id, run.name, self._job)
            if len(efforts) < run.federation.rounds:
                refuse_unknown(ledger, pledge, run_id, run.federation.rounds - len(efforts))
            shares, honest = shares_of_model(run), honest_shares(run)
            account = open_plan(ledger, label, pledge, dp, steps_of(efforts), honest)
            planned = _planned(dp, efforts, run.federation.host_steps, pledge, account)
            facts = Facts(dp.clip_norm, dp.frames_per_patient, dp.epsilon)
            gate = Gate(site, run_id, ledger, account, pledge, facts, planned)
            labels = settings.datasets[run.dataset].labels
            return protection(
                data,
                dp,
                account,
                gate,
                pledge,
                optimization_of(run.training),
                transform_of(run),
                run.labels if labels is None else labels,  # undeclared: it may hold any
                shares,
            )


@contextmanager
def closed_on_error(ledger: Ledger, site: str) -> Iterator[None]:
    """Lets go of the ledger where the block fails, and names the site in what it raises."""
    try:
        yield
    except PrivacyError as error:
        ledger.close()
        error.args = (f"site {site!r}: {error}",)  # a new one would lack what else it carries
        raise
    except BaseException:
        ledger.close()
        raise


def counted_in(data: FrameDataset, dp: DpConfig) -> int:
    """How many patients (or images) are in ``data``."""
    return len(data.patients.unique()) if dp.unit == "patient" else len(data)


def dp_of(run: RunConfig) -> DpConfig:
    """The run's differential privacy. Raises PolicyRefused where it has none."""
    if run.privacy.dp is None:
        raise PolicyRefused("privacy.dp is not set in the run file, so nothing can be protected")
    return run.privacy.dp


def units_of(manifest: Manifest, dp: DpConfig) -> int:
    """How many patients (or images) a manifest has to train on, without opening an image."""
    rows = [manifest.rows[position] for position in training_rows(manifest)]
    return len({row.patient_id for row in rows}) if dp.unit == "patient" else len(rows)


def open_ledger(
    site: str, site_file: Path, settings: SiteConfig, known_head: Head | None = None
) -> Ledger:
    """The site's ledger; its places are relative to the site file."""
    if settings.ledger is None:
        raise PolicyRefused(f"site {site!r} names no ledger in {site_file}")
    witness = settings.ledger_witness
    return Ledger.open(
        site_file.parent / settings.ledger,
        site,
        witness=site_file.parent / witness if witness else None,
        known_head=known_head,
    )


def refuse_unknown(ledger: Ledger, pledge: Promise, run_id: str, finished: int) -> None:
    """Raises PolicyRefused where a run goes on of which the ledger holds no beginning.

    Under another name it would be calibrated as if nothing had been spent on it.
    """
    if all(record.label.run_id != run_id for record in ledger.runs(pledge.dataset)):
        raise PolicyRefused(
            f"of this run {several(finished, 'round')} went before, and the ledger has no entry of "
            "run id "
            f"{run_id!r} on {pledge.dataset.name!r}; put back the run's own run_id file, or start "
            "a new run"
        )


def open_plan(
    ledger: Ledger, label: RunLabel, pledge: Promise, dp: DpConfig, steps: int, shares: int = 1
) -> Account:
    """The run's account with ``steps`` left in it.

    A resumed run goes on with its plan. Where a fit that died took steps from it, a plan with a
    little more noise takes its place, so that the whole run keeps its epsilon. ``shares`` above 1
    says that the noise is made by so many honest sites, and more.
    Raises BudgetExhausted, with nothing changed, where the dataset has too little left.
    """
    sampling = sampling_for(dp, pledge.units)
    account = ledger.account(pledge.dataset, label.run_id)
    if account is not None and account.remaining >= steps and _is_of(account, sampling, shares):
        return account
    steps = max(steps, 1)  # stopped after its last step, a run needs an account all the same
    noise = dp.noise_multiplier or noise_for(
        dp.epsilon or 0.0,
        pledge.delta,
        pledge.adjacency,
        sampling.rate,
        sampling.units,
        sampling.cap,
        steps,
        spent_by(ledger, pledge, label.run_id),
    )
    mechanism = sampling.mechanism(noise, shares)
    return ledger.plan(pledge.dataset, label, mechanism, steps, pledge.budget)


def spent_by(ledger: Ledger, pledge: Promise, run_id: str) -> Spend:
    """What this run has spent on the dataset so far, lost fits in full."""
    runs = [run for run in ledger.runs(pledge.dataset) if run.label.run_id == run_id]
    return together(*(run.spent for run in runs))


def _is_of(account: Account, sampling: Sampling, shares: int) -> bool:
    return sampling.mechanism(account.mechanism.noise_multiplier, shares) == account.mechanism


def protection(
    data: FrameDataset,
    dp: DpConfig,
    account: Account,
    gate: Gate,
    pledge: Promise,
    optimization: Optimization,
    transform: Transform | None,
    labels: tuple[str, ...],
    shares: NoiseShares | None = None,
) -> Protection:
    """The private trainer, the private mean and the gate over ``account``, in one."""
    noise, sampling = account.mechanism.noise_multiplier, sampling_for(dp, pledge.units)
    clip = Clip(dp.clip_norm, per_layer=dp.clipping == "per_layer")
    gradients = _gradients(dp, sampling, data)
    if shares is not None:
        sharing = SharingTrainer(
            data,
            sampling,
            clip,
            gradients,
            shares,
            account,
            dp.frames_per_patient,
            dp.unit,
            transform,
        )
        return Protection(sharing, no_mean, gate, False, labels, pledge.units, sharing.give)
    trainer = PrivateTrainer(
        data,
        sampling,
        clip,
        gradients,
        noise,
        account,
        dp.frames_per_patient,
        dp.unit,
        optimization,
        transform,
    )
    mean = PrivateMean(data, sampling, noise, account, dp.frames_per_patient, dp.unit)
    return Protection(trainer, mean, gate, False, labels, pledge.units)


def _gradients(dp: DpConfig, sampling: Sampling, data: FrameDataset) -> Gradients:
    frames = dp.frames_per_patient if dp.unit == "patient" else 1
    units = max(1, round(sampling.expected))
    return ChosenGradients(dp.gradients, units, frames, data.random_batch)


def _planned(
    dp: DpConfig, efforts: Sequence[Effort], host_steps: int, pledge: Promise, account: Account
) -> dict[str, Any]:
    """What is told before the first step: the whole run, and what each part of it costs."""
    steps = steps_of(efforts)
    hosting = sum(effort.guests > 0 for effort in efforts)
    cost = costs(
        account.mechanism,
        run_steps=steps,
        round_steps=max((effort.steps for effort in efforts), default=0),
        guest_steps=hosting * host_steps,
        delta=pledge.delta,
        adjacency=pledge.adjacency,
    )
    parts = {"step": cost.step, "round": cost.round, "guest": cost.guest}
    return {**whole_plan(dp, steps, pledge, account), "costs": parts}


def whole_plan(dp: DpConfig, steps: int, pledge: Promise, account: Account) -> dict[str, Any]:
    """What a run will have spent at most after ``steps`` more, with all that gives it meaning."""
    mechanism = account.mechanism
    whole = together(account.spent(), {mechanism: steps})
    return {
        "epsilon": epsilon(whole, pledge.delta, pledge.adjacency),
        "target_epsilon": dp.epsilon,
        "delta": pledge.delta,
        "unit": pledge.dataset.unit,
        "adjacency": pledge.adjacency,
        "accountant": ACCOUNTANT,
        "noise_multiplier": mechanism.noise_multiplier,
        "sampling_rate": mechanism.sampling_rate,
        "units": pledge.units,
        "batch_cap": mechanism.batch_cap,
        "steps": steps,
        **shared_noise(whole, pledge.delta, pledge.adjacency),
    }
