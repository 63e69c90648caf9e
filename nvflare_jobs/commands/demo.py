"""``fedefm demo``: the whole path on simulated fluoroscopy, in minutes, nothing to bring along."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from fedefm.errors import ConfigError

MARK = ".fedefm_demo"  # stands in the folder from the first second on


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)] = 1,
    again: Annotated[
        bool, typer.Option("--again", help="Replace the folder of an earlier demo.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and show no progress.")
    ] = False,
) -> None:
    """Simulate four hospitals, pre-train privately over them, fine-tune a segmenter, report.

    Example: fedefm demo --out runs/demo
    """
    _make_room(out, again)
    from nvflare_jobs.commands.demonstration import SITES, demonstrate  # torch loads slowly

    report, account = demonstrate(out, seed, as_json)
    if as_json:
        print(json.dumps({"report": str(report), "privacy": str(account)}))
        return
    print(f"{SITES[0]}'s privacy account: {account.resolve()}")
    print(f"report: {report.resolve()}")


def _make_room(out: Path, again: bool) -> None:
    """An empty ``out``, marked as a demo's, so that ``--again`` never removes anything else."""
    if out.exists() and any(out.iterdir()):
        if not again:
            raise ConfigError(
                f"{out} exists already; choose another --out, or replace it with --again"
            )
        if not (out / MARK).exists():
            raise ConfigError(f"{out} is not the folder of an earlier demo; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
