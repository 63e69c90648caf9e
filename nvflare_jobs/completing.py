"""What a run folder has besides what the server writes on the way: card, table and report.

All of it is made from the folder alone, at the server when a job ends, and again wherever a folder
lacks it. So a job downloaded with FLARE's own console is as complete as any other.
"""

import json
from pathlib import Path
from typing import Any

from fedefm.config import RunConfig, read_run
from fedefm.events import read_events
from fedefm.model.checkpoint import load_checkpoint
from fedefm.report.metrics_csv import MetricsCsv
from fedefm.report.record import read_record
from fedefm.report.run_report import write_report
from fedefm.report.tensorboard import TensorBoard
from fedefm.train.assemble import build_model
from fedefm.train.foundation_card import CARD, save_foundation
from fedefm.train.run_files import EVENTS, MODEL, RESULT, RUN_FILE

METRICS, TENSORBOARD, REPORT = "metrics.csv", "tensorboard", "report.html"


def complete_run_folder(folder: Path) -> None:
    """Write what is missing in ``folder``; of a run that ended early, what there can be.

    Raises DataError where the folder holds no run, ConfigError where its run file is damaged.
    """
    if not has_begun(folder):
        return
    if (folder / MODEL).exists() and (folder / RESULT).exists() and not (folder / CARD).exists():
        _write_card(folder, read_run(folder / RUN_FILE))
    if not (folder / METRICS).exists():
        table = MetricsCsv(folder / METRICS)
        for event in read_events(folder / EVENTS):
            table(event)
    write_report(folder)


def write_tensorboard(folder: Path) -> None:
    """The run's figures as TensorBoard reads them, from its events."""
    if (folder / TENSORBOARD).exists() or not has_begun(folder):
        return
    board = TensorBoard(folder / TENSORBOARD)
    for event in read_events(folder / EVENTS):
        board(event)
    board.close()


def has_begun(folder: Path) -> bool:
    """Whether there is a run to report, or only the attempt at one."""
    path = folder / EVENTS
    return path.exists() and any(e["event"] == "run_started" for e in read_events(path))


def _write_card(folder: Path, run: RunConfig) -> None:
    result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    model = build_model(run)
    load_checkpoint(folder / MODEL, model, minimum=1.0)
    promised = {site: told for site, told in result["privacy"].items() if told}
    held = {} if run.privacy.secagg is not None else read_record(folder).holdings()
    save_foundation(folder, run, model, held, result["metrics"], promised)
