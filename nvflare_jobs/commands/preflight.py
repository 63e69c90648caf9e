"""``fedefm provision preflight``: whether a kit on this machine can take part in a run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from provisioning.finding import Finding, has_problems, summary

COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(preflight)


def preflight(
    kit: Annotated[
        Path, typer.Argument(metavar="KIT", help="The folder with startup/ and local/.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Check, in seconds, all that a site or server needs before it is started.

    The way to the server with the kit's certificate, versions, disk, memory, GPU, datasets, ledger
    and policy; one line each, with what mends it. Nothing is started or changed. The exit code is
    0 where no problem was found, and 1 otherwise; warnings do not count.

    Example: fedefm provision preflight /opt/flare/hosp-a
    """
    from nvflare_jobs.preflight import preflight as look  # the packages load slowly

    found = look(kit)
    if as_json:
        findings = [asdict(finding) for finding in found]
        print(json.dumps({"kit": str(kit.absolute()), "findings": findings}, ensure_ascii=False))
    else:
        _print(found)
    raise typer.Exit(1 if has_problems(found) else 0)


def _print(found: list[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(finding.check) for finding in found)
    for finding in found:
        line = Text(f"{finding.verdict:8}", style=COLORS[finding.verdict])
        console.print(line.append(f"{finding.check:{width}}  {finding.line}", style="default"))
    console.print(summary(found))
