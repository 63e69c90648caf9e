"""The pre-training job: a coordinator at the server, an executor at each site, their settings."""

from pathlib import Path

from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe
from nvflare.recipe.utils import add_experiment_tracking

from fedefm.errors import ConfigError
from nvflare_jobs.components.coordinator import Coordinator
from nvflare_jobs.components.site_executor import SiteExecutor
from nvflare_jobs.parties.literals import SERVER_SETTINGS
from nvflare_jobs.parties.tasks import TASKS
from nvflare_jobs.parties.terms import Terms

INSTALLED = ["fedefm", "privacy", "provisioning", "nvflare_jobs"]  # at every site, never in a job


class PretrainRecipe(Recipe):
    """Pre-trains one foundation model under ``terms``; for FLARE's environments and for export."""

    def __init__(self, terms: Terms) -> None:
        job = FedJob(name=terms.run.name, min_clients=terms.needed)
        job.set_app_packages(INSTALLED)
        text = terms.model_dump_json()
        job.to_server(Coordinator(text))
        job.to_server({"server": SERVER_SETTINGS})
        for site in terms.sites:
            job.to(SiteExecutor(text), site, tasks=[TASKS])
        super().__init__(job)


def export_job(terms: Terms, folder: Path) -> Path:
    """Write the job into ``folder``; its own folder there, which is new or holds the same job."""
    return _written(PretrainRecipe(terms), terms, folder)


def export_tracked_job(terms: Terms, folder: Path) -> Path:
    """The same with FLARE's receiver for TensorBoard at the server, whose kit allows its class."""
    recipe = PretrainRecipe(terms)
    at_server_only = {"events": [ANALYTIC_EVENT_TYPE]}  # and nothing that a site might send
    add_experiment_tracking(recipe, "tensorboard", at_server_only)
    return _written(recipe, terms, folder)


def _written(recipe: PretrainRecipe, terms: Terms, folder: Path) -> Path:
    target = folder / terms.run.name
    for place in (*reversed(folder.parents), folder, target):
        if place.exists() and not place.is_dir():
            raise ConfigError(f"{place} is a file, and a job is a folder; name another folder")
    try:
        recipe.export(str(folder))
    except (OSError, RuntimeError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigError(
            f"the job cannot be written to {target}: {why}; name another folder"
        ) from None
    return target
