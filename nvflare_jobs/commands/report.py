"""``fedefm report``: makes the report of a run again from its folder, or compares two runs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedefm.errors import ConfigError

COMPARISON = Path("comparison.html")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("report", help=report.__doc__)(report)


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_FOLDER [OTHER_RUN]", help="What `fedefm run` wrote."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help=f"Where a comparison goes; {COMPARISON} if not given."
        ),
    ] = None,
    transfer: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="What fine-tuning from two starts came to; it is kept in the run folder.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
) -> None:
    """Make report.html again from a run folder, also from that of an interrupted run.

    With two run folders: one page that compares them.

    Example: fedefm report runs/demo

    Example: fedefm report runs/ring runs/dense --out ring-dense.html

    Example: fedefm report runs/staged --transfer transfer.json
    """
    told = _told(folders, out, transfer)
    print(json.dumps(told) if as_json else told["report"])


def _told(folders: list[Path], out: Path | None, transfer: Path | None) -> dict[str, object]:
    if len(folders) > 2:
        raise ConfigError(
            f"{len(folders)} run folders are given; compare two at a time, or report on one"
        )
    if transfer is not None and len(folders) == 2:
        raise ConfigError("--transfer is of one run, whose model is one of its starts; name that")
    if len(folders) == 2:
        from fedefm.report.compare import write_comparison  # matplotlib loads slowly

        return write_comparison(folders[0], folders[1], out or COMPARISON)
    if out is not None:
        raise ConfigError("--out is for comparisons; the report of one run goes into its folder")
    from fedefm.report.record import read_record
    from fedefm.report.run_report import write_report  # matplotlib loads slowly
    from fedefm.report.transfer_file import take_transfer

    if transfer is not None:
        read_record(folders[0])  # no file is put where there is no run
        take_transfer(transfer, folders[0])
    return {"report": str(write_report(folders[0]))}
