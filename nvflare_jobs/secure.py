"""From a site's own file and a run with secure sums to what hides its parts: the one composition.

The counterpart of ``nvflare_jobs.protect``. Who a party is, and what it must not forget, comes from
wherever the run happens: thrown-away certificates in one process, a kit's at real sites.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from fedefm.config import RunConfig, SecaggConfig, read_site
from fedefm.errors import PolicyRefused, all_problems
from fedefm.train.assemble import Plan
from fedefm.train.secrecy import Secrecy
from nvflare_jobs.planned_sums import planned_sums
from nvflare_jobs.safe_topology import refuse_unsafe_sums
from nvflare_jobs.shared_noise import refuse_too_few, shares_by_length
from nvflare_jobs.site_demands import unmet_demands
from privacy.identity import Identity, MessageSeal, ThrowAwayRoot
from privacy.project_root import ProjectRoot
from privacy.secagg.memory import Memory
from privacy.secagg.plan import check_size
from privacy.secagg.sum import SecureSum, ring_for
from privacy.secagg.sum_plan import SumPlan


class BySecureSums:
    """Hides every party of a run in one process; a ``fedefm.train.secrecy.Hide``.

    ``folder`` is where the parties keep their memories, one file each; it must outlive a run that
    is to be resumed. None: they last as long as the process. The certificates are thrown away with
    this object, and whoever holds it could speak for every site: for simulations only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._issuer = ThrowAwayRoot()

    def check(self, site_files: Mapping[str, Path], run: RunConfig, plan: Plan) -> None:
        """Raises PolicyRefused or ConfigError where the planned sums would not hide everybody."""
        refuse_unhidden(site_files, run, plan)

    def __call__(
        self,
        party: str,
        site_file: Path | None,
        run: RunConfig,
        sites: tuple[str, ...],
        run_id: str,
        tell: Callable[[str], None],
    ) -> Secrecy:
        """The secrecy of ``party``, with a certificate issued for it."""
        identity = self._issuer.issue(party)
        name = f"{quote(party, safe='')}.sqlite"
        memory = Memory(None if self._folder is None else self._folder / name)
        return hidden(identity, self._issuer.root, memory, site_file, run, run.name, run_id, tell)


def hidden(
    identity: Identity,
    root: ProjectRoot,
    memory: Memory,
    site_file: Path | None,
    run: RunConfig,
    job: str,
    run_id: str,
    tell: Callable[[str], None],
) -> Secrecy:
    """The secure sum and the seal of the party that ``identity`` names, wherever it runs.

    ``site_file`` says among how many others it wants to be hidden; None for a server, which gives
    no parts. ``job`` and ``run_id`` must be the same at all parties.
    """
    total = SecureSum(
        identity.name,
        identity,
        root,
        memory,
        job,
        run_id,
        secagg_of(run),
        1 if site_file is None else read_site(site_file).policy.min_cohort,
        tell,
        shares_by_length(run),
        whole=_depends_on_all(run),
    )
    return Secrecy(total, MessageSeal(identity, root))


def secagg_of(run: RunConfig) -> SecaggConfig:
    """The run's secure sums. Raises PolicyRefused where it has none."""
    if run.privacy.secagg is None:
        raise PolicyRefused("privacy.secagg is not set in the run file, so nothing can be hidden")
    return run.privacy.secagg


def _depends_on_all(run: RunConfig) -> bool:
    """Whether one missing member could undo what the check of the topology found.

    Colluding neighbors compare their neighborhoods, and each that lost a member is another equation
    than the planned one. Rows, and one sum of all, leave too few to compare.
    """
    federation = run.federation
    overlapping = federation.schedule == "neighbors" and federation.topology != "complete"
    gossip = federation.scenario == "decentralized" and overlapping
    return gossip and secagg_of(run).colluders > 1


def refuse_unhidden(site_files: Mapping[str, Path], run: RunConfig, plan: Plan) -> None:
    """Hold the sums that the run plans against the sites' policies, before anything is read.

    ``site_files`` are those within reach: all of them in one process, the own one at a site.

    Raises:
        PolicyRefused: a cohort is smaller than a site's file demands, or the sums taken together
            would show what a site gave.
        ConfigError: a sum is over too many, or has too few to share their noise.
    """
    planned = planned_sums(run, plan)
    refuse_impossible(run, planned)
    problems = unmet_demands(site_files, secagg_of(run), planned)
    if problems:
        raise PolicyRefused(all_problems("the plan of secure sums", problems))
    refuse_unsafe_sums(run, plan)


def refuse_impossible(run: RunConfig, planned: SumPlan) -> None:
    """Raises ConfigError where a sum is over too many, or has too few to share their noise."""
    refuse_too_few(run, len(planned.sites))
    for size in sorted({len(total.weights) for total in planned.sums}):
        ring_for(secagg_of(run), size)
    for total in planned.sums:
        check_size(total.senders, f"the sum for {total.receiver}")
