"""``fedefm report``: makes the report of a run again from its folder."""

import json
from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("report", help=report.__doc__)(report)


def report(
    folder: Path = typer.Argument(..., metavar="RUN_FOLDER", help="What `fedefm run` wrote."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object, for scripts."),
) -> None:
    """Make report.html again from a run folder, also from that of an interrupted run.

    Example: fedefm report runs/demo
    """
    from fedefm.report.run_report import write_report  # matplotlib loads slowly

    page = write_report(folder)
    print(json.dumps({"report": str(page)}) if as_json else page)
