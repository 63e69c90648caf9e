"""The task that ``fedefm finetune`` is asked for."""

from pathlib import Path

from fedefm.data.label_sets import labels_of
from fedefm.data.manifest import read_manifest
from fedefm.errors import ConfigError, DataError
from fedefm.finetune.classify import LabelClassification
from fedefm.finetune.diagnose import Diagnosis
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.task import Task
from nvflare_jobs.commands.finetune import DEVICES, TaskName


def task_of(
    task: TaskName, classes: str, frame_size: int | None, manifest: Path, private: bool
) -> Task:
    """What to fine-tune for. Raises ConfigError for options that do not go together."""
    if task != "segmentation" and frame_size is not None:
        raise ConfigError("--frame-size is of segmentation; a label is of the whole image")
    if task == "classification":
        return LabelClassification(_labels(classes, manifest, private))
    if task == "diagnosis":
        return Diagnosis(_several(_labels(classes, manifest, private)))
    if private and frame_size is not None:
        raise ConfigError("private training takes whole frames; leave --frame-size out")
    return Segmentation(_devices(classes or DEVICES), frame_size)


def _devices(classes: str) -> tuple[str, ...]:
    names = _names(classes)
    if len(names) < 2:
        raise ConfigError(
            f"--classes {classes!r} must be two or more different names with commas between, "
            "the background first"
        )
    return names


def _labels(classes: str, manifest: Path, private: bool) -> tuple[str, ...]:
    """Those named or, where nothing is private, all that the manifest has."""
    if classes:
        return _names(classes)
    if private:
        raise ConfigError(
            "which labels occur is a fact of the patients, so private training has to be told; "
            "name them by --classes"
        )
    labels = labels_of(read_manifest(manifest))
    if not labels:
        raise DataError(f"manifest {manifest} has no labels; fill its column label")
    return labels


def _several(labels: tuple[str, ...]) -> tuple[str, ...]:
    if len(labels) < 2:
        raise ConfigError(
            f"a diagnosis tells classes apart, and {labels[0]!r} is the only one; name all by "
            "--classes, or take a manifest with others"
        )
    return labels


def _names(classes: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in classes.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"--classes {classes!r} must be different names with commas between")
    return names
