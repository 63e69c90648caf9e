"""The run's numbers for TensorBoard, named as in ``metrics.csv``: ``KIND/SITE`` by round."""

from pathlib import Path
from typing import Any

from fedefm.errors import ConfigError
from fedefm.events import Event
from fedefm.report.metrics_csv import rows_of


class TensorBoard:
    """A listener that writes scalars into ``folder``; a resumed run replaces what it runs again."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where TensorBoard is not installed."""
        self._folder = folder
        self._open = _writer_class()
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        """Write what ``event`` measured, and close the file at the end of the run."""
        if event["event"] == "round_started" and self._writer is None:
            # steps from this one on, left by an interrupted run, are hidden
            self._writer = self._open(str(self._folder), purge_step=event["round"])
        for number, site, kind, value in rows_of(event) if self._writer else ():
            self._writer.add_scalar(f"{kind}/{site}", value, number, walltime=event["time"])
        if event["event"] == "round_finished" and self._writer:
            self._writer.flush()
        if event["event"] == "run_finished":
            self.close()

    def close(self) -> None:
        """Close the file; needed only where the run does not come to its end."""
        if self._writer:
            self._writer.close()
            self._writer = None


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # loads slowly: only where it is wanted
    except ImportError:
        raise ConfigError(
            "TensorBoard is not installed; run `pip install tensorboard`, or go without it"
        ) from None
    return SummaryWriter
