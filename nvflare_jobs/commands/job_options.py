"""What the commands on jobs have in common: kit, job, and a server to ask."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedefm.config import RunConfig
from fedefm.errors import ConfigError
from fedefm.topology.graphs import NAMED, sites_in
from nvflare_jobs.admin.person_kit import KIT_VARIABLE, read_person_kit
from provisioning.names import hospital, site_problems

if TYPE_CHECKING:
    from nvflare_jobs.admin.server import FlareServer

Kit = Annotated[
    Path | None,
    typer.Option(
        envvar=KIT_VARIABLE,
        help="Your own kit: the folder with startup/ in it, as made for a person.",
        show_default=False,
    ),
]
Sites = Annotated[
    str,
    typer.Option(
        help="The sites with commas, by FLARE's names or their own; a topology file names them."
    ),
]
Job = Annotated[str, typer.Argument(metavar="JOB", help="FLARE's id of the job.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for scripts.")]


def site_names(sites: str, run: RunConfig) -> list[str]:
    """The sites of a job. Raises ConfigError where nothing names them."""
    written = [name.strip() for name in sites.split(",") if name.strip()]
    if written:
        return [flare_name(name) for name in written]
    if run.federation.topology in NAMED:
        raise ConfigError(
            f"topology {run.federation.topology!r} does not say which sites take part; "
            "name them with --sites hosp-a,hosp-b"
        )
    return sites_in(run.federation.topology)


def flare_name(written: str) -> str:
    """A site as FLARE knows it, out of its name there or as people write it."""
    site = hospital(written)
    if problems := site_problems(site):
        raise ConfigError("; ".join(problems))
    return site.name


@contextmanager
def server_of(kit: Path | None) -> Iterator["FlareServer"]:
    """The server that ``kit`` leads to, logged in to."""
    from nvflare_jobs.admin.server import logged_in  # FLARE loads slowly

    with logged_in(read_person_kit(kit)) as server:
        yield server
