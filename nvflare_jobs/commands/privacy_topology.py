"""``fedefm privacy topology``: what colluding sites could solve for, before anything is sent."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedefm.config import RunConfig, read_run
from fedefm.data.corpora import site_names
from fedefm.errors import ConfigError
from fedefm.topology.graphs import sites_in
from fedefm.train.workshop import RESERVED, find_sites, plan_for
from nvflare_jobs.commands import privacy_topology_told as told
from nvflare_jobs.commands.privacy_site import AsJson
from nvflare_jobs.safe_topology import colluders_of
from nvflare_jobs.topology_findings import Findings, findings
from provisioning.names import hospital

_PICTURES = (".png", ".svg")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("topology", help=topology.__doc__)(topology)


def topology(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The settings of the run.")],
    sites: Annotated[
        Path | None, typer.Option(help="A folder with one folder a site; names and policies count.")
    ] = None,
    names: Annotated[
        str, typer.Option(metavar="A,B,C", help="Instead: the sites' names, with commas between.")
    ] = "",
    count: Annotated[
        int | None, typer.Option(help="Instead: so many sites, site-1 and so on.", min=1)
    ] = None,
    colluders: Annotated[
        int | None,
        typer.Option(
            help="How many sites may pool what they see; as in the run file if not given.", min=1
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="PNG|SVG", help="Draw who sums with whom; exposed sites are marked."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whose part colluding sites could solve for, from all secure sums of a planned run.

    Counts the sums, cohorts and traffic of every round, names what no sum hides, and proposes the
    nearest topology that is safe. Reads no images. Exit code 0 if every site is hidden, 1 if not
    or if a site of --sites would not take part.

    Example: fedefm privacy topology run.yaml --count 9 --colluders 2 --draw cohorts.png
    """
    _refuse_other_pictures(draw)
    run = read_run(run_file)
    plan = plan_for(run, _sites(run, sites, names, count))
    files = None if sites is None else find_sites(sites)
    found = findings(run, plan, colluders or colluders_of(run), files)
    if draw is not None:
        _write_picture(found, draw)
    if as_json:
        print(json.dumps(told.as_json(found), ensure_ascii=False))
    else:
        print("\n".join(told.lines(found)))
    raise typer.Exit(0 if found.safe else 1)


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


def _refuse_other_pictures(path: Path | None) -> None:
    if path is not None and path.suffix.lower() not in _PICTURES:
        raise ConfigError(f"--draw {path} is no picture that can be drawn; end it in .png or .svg")


def _write_picture(found: Findings, path: Path) -> None:
    from nvflare_jobs.commands.privacy_topology_drawn import draw  # matplotlib loads slowly

    path.parent.mkdir(parents=True, exist_ok=True)
    draw(found, path)
