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
    str, typer.Option(help="FLARE names of the sites, with commas; a topology file names its own.")
]
Job = Annotated[str, typer.Argument(metavar="JOB", help="FLARE's id of the job.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for scripts.")]


def site_names(sites: str, run: RunConfig) -> list[str]:
    """The sites of a job. Raises ConfigError where nothing names them."""
    names = [name.strip() for name in sites.split(",") if name.strip()]
    if names:
        return names
    if run.federation.topology in NAMED:
        raise ConfigError(
            f"topology {run.federation.topology!r} does not say which sites take part; "
            "name them with --sites hosp-a,hosp-b"
        )
    return sites_in(run.federation.topology)


@contextmanager
def server_of(kit: Path | None) -> Iterator["FlareServer"]:
    """The server that ``kit`` leads to, logged in to."""
    from nvflare_jobs.admin.server import logged_in  # FLARE loads slowly

    with logged_in(read_person_kit(kit)) as server:
        yield server
