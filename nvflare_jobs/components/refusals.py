"""What a real site refuses to run without, whatever the job and the site's policy say.

A simulation is the only way around: `fedefm run --where simulator`, where all sites are folders of
one machine, and whose result says so.
"""

from pathlib import Path

from nvflare.apis.fl_constant import FilterKey, FLContextKey
from nvflare.apis.fl_context import FLContext

from fedefm.config import RunConfig, read_site
from fedefm.errors import ConfigError, PolicyRefused
from nvflare_jobs.parties import places, terms
from nvflare_jobs.parties.deployed import deployed_terms


def refuse_unguarded(fl_ctx: FLContext, job_terms: str) -> None:
    """Raises PolicyRefused or ConfigError where the site would run ``job_terms`` unguarded.

    That is: without encryption from end to end, gate or doorkeeper, privately without a ledger, or
    with other terms than those by which gate and guard go.
    """
    site = fl_ctx.get_identity_name()
    if places.simulated():
        if fl_ctx.get_prop(FLContextKey.SECURE_MODE):
            raise PolicyRefused(
                f"{places.SITES_DIR} is set at site {site!r} as in a simulation, and FLARE runs "
                "with the certificates of a real project there; start the site without it"
            )
        return
    agreed = terms.read_terms(job_terms)
    require_encryption(fl_ctx)
    require_gate(fl_ctx)
    require_doorkeeper(site, fl_ctx)
    require_ledger(site, fl_ctx, agreed.run)
    workspace, job = fl_ctx.get_workspace(), str(fl_ctx.get_job_id())
    if deployed_terms(Path(workspace.get_client_app_config_file_path(job))) != agreed:
        raise ConfigError(
            f"site {site!r} was handed other terms than the job has that was deployed there; make "
            "jobs with `fedefm job export`"
        )


def require_encryption(fl_ctx: FLContext) -> None:
    """Raises PolicyRefused where FLARE has no certificates to encrypt with."""
    if not fl_ctx.get_prop(FLContextKey.SECURE_MODE):
        raise PolicyRefused(
            f"site {fl_ctx.get_identity_name()!r} runs nothing without encryption from end to end, "
            "and FLARE runs without certificates here; start the site with its provisioned kit, or "
            "try things out with `fedefm run --where simulator`"
        )


def require_gate(fl_ctx: FLContext) -> None:
    """Raises PolicyRefused where the site's own filter would not see all that leaves."""
    from nvflare_jobs.components.gate_filter import GateFilter  # the privacy packages load slowly

    scope = fl_ctx.get_prop(FLContextKey.SCOPE_OBJECT)
    chains = (scope.task_data_filters, scope.task_result_filters) if scope else ({}, {})
    if not all(
        any(type(each) is GateFilter for each in chain.get(FilterKey.OUT, ())) for chain in chains
    ):
        raise PolicyRefused(
            f"site {fl_ctx.get_identity_name()!r} runs nothing without its gate: the site's "
            "local/privacy.json must have GateFilter in direction 'out' for task data and for "
            "results, in the scope of the job"
        )


def require_doorkeeper(site: str, fl_ctx: FLContext) -> None:
    """Raises PolicyRefused where the site's parent process would answer to anybody."""
    from nvflare_jobs.kit.doorkeeper import stands_in

    if not stands_in(Path(fl_ctx.get_workspace().get_site_config_dir())):
        raise PolicyRefused(
            f"site {site!r} runs nothing without its doorkeeper, for FLARE lets peers read its "
            "files; make its kit stricter with `fedefm provision harden`, and restart the site"
        )


def require_ledger(site: str, fl_ctx: FLContext, run: RunConfig) -> None:
    """Raises PolicyRefused where run or policy want privacy, and nobody would keep account."""
    local = Path(fl_ctx.get_workspace().get_site_config_dir())
    settings = read_site(places.site_file(site, local))
    policy = settings.policy
    private = run.privacy.dp is not None or policy.require_dp or policy.epsilon_cap is not None
    if private and settings.ledger is None:
        raise PolicyRefused(
            f"site {site!r} runs nothing privately without its epsilon ledger; name a file for it "
            "in the site file, such as `ledger: ledger.sqlite`"
        )
