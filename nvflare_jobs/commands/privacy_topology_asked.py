"""Of which sites ``fedefm privacy topology`` is asked, and what is found out about them."""

from pathlib import Path

from fedefm.config import RunConfig
from fedefm.data.corpora import site_names
from fedefm.errors import ConfigError
from fedefm.topology.graphs import sites_in
from fedefm.train.workshop import RESERVED, find_sites, plan_for
from nvflare_jobs.safe_topology import colluders_of
from nvflare_jobs.topology_findings import Findings, findings
from provisioning.names import hospital


def found_out(
    run: RunConfig, folder: Path | None, names: str, count: int | None, colluders: int | None
) -> Findings:
    """Raises ConfigError where the sites are named twice or not at all."""
    plan = plan_for(run, _sites(run, folder, names, count))
    files = None if folder is None else find_sites(folder)
    return findings(run, plan, colluders or colluders_of(run), files)


def _sites(run: RunConfig, folder: Path | None, names: str, count: int | None) -> tuple[str, ...]:
    if (folder is not None) + bool(names) + (count is not None) > 1:
        raise ConfigError("--sites, --names and --count all say which sites there are; give one")
    if folder is not None:
        return tuple(find_sites(folder))
    if names:
        return _listed(names)
    if count is not None:
        return site_names(count)
    if Path(run.federation.topology).is_file():
        return tuple(sites_in(run.federation.topology))
    raise ConfigError(
        f"topology {run.federation.topology!r} does not say which sites there are; give --count N, "
        "--names A,B,C or --sites FOLDER"
    )


def _listed(names: str) -> tuple[str, ...]:
    listed = tuple(hospital(name.strip()).name for name in names.split(","))
    for name in listed:
        if not name:
            raise ConfigError(
                f"--names {names!r} has an empty name; give names with commas between"
            )
        if name in RESERVED:
            raise ConfigError(f"a site cannot be called {name!r}; give another name in --names")
    return listed
