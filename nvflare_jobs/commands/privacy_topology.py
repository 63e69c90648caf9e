"""``fedefm privacy topology``: what colluding sites could solve for, before anything is sent."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedefm.config import read_run
from fedefm.errors import ConfigError
from nvflare_jobs.commands.privacy_site import AsJson

if TYPE_CHECKING:
    from nvflare_jobs.topology_findings import Findings

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
    from nvflare_jobs.commands import privacy_topology_told as told  # torch loads slowly
    from nvflare_jobs.commands.privacy_topology_asked import found_out

    found = found_out(run, sites, names, count, colluders)
    if draw is not None:
        _write_picture(found, draw)
    if as_json:
        print(json.dumps(told.as_json(found), ensure_ascii=False))
    else:
        print("\n".join(told.lines(found)))
    raise typer.Exit(0 if found.safe else 1)


def _refuse_other_pictures(path: Path | None) -> None:
    if path is not None and path.suffix.lower() not in _PICTURES:
        raise ConfigError(f"--draw {path} is no picture that can be drawn; end it in .png or .svg")


def _write_picture(found: "Findings", path: Path) -> None:
    from nvflare_jobs.commands.privacy_topology_drawn import draw  # matplotlib loads slowly

    path.parent.mkdir(parents=True, exist_ok=True)
    draw(found, path)
