"""Fine-tuning from a manifest to a folder of results: what ``fedefm finetune`` does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fedefm.config import FinetuneConfig
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.folders import fresh_folder
from fedefm.data.loading import Splits, splits_of, training_rows
from fedefm.data.manifest import Manifest, read_manifest
from fedefm.data.transforms import Transform
from fedefm.errors import ConfigError
from fedefm.events import EventLog, Listener
from fedefm.finetune.card import DataUse, ModelCard, Scores, guarantee, headline, named_scores
from fedefm.finetune.checkpoint import FRAME_SIZE
from fedefm.finetune.device import find_device
from fedefm.finetune.groups import by_corpus
from fedefm.finetune.labels import labeled_manifest
from fedefm.finetune.result import as_json
from fedefm.finetune.start import Start
from fedefm.finetune.task import Answers, Model, Task, image_size_of
from fedefm.finetune.training import (
    FinetuneResult,
    finetune,
    freeze,
    optimization_for,
    refuse_settings,
    views_for,
)
from fedefm.model.segmenter import Segmenter
from fedefm.train.optimization import Optimization
from fedefm.train.protection import Protection
from fedefm.words import several

SCORES_STAY = (
    "How well the model does was measured on this site's own images, without noise; these scores, "
    "and the pictures beside them, are not in this card and stay with the site."
)


class Guard(Protocol):
    """Makes the protection of private fine-tuning; comes from whoever knows the privacy packages.

    ``check`` is asked before an image is decoded; the call sets the site's budget aside. ``views``
    vary the images that are trained on, and ``optimization`` makes steps of noisy gradients.
    """

    @property
    def site(self) -> str: ...

    def check(self, manifest: Manifest) -> None: ...

    def __call__(
        self, data: FrameDataset, views: Transform, optimization: Optimization
    ) -> Protection: ...


@dataclass(frozen=True)
class FinetuneJob:
    """What to train, on what, from where, and where to."""

    manifest: Path
    target: Path
    start: Start
    config: FinetuneConfig
    task: Task
    seed: int = 1
    device: str = "cpu"
    guard: Guard | None = None  # None: trained without privacy


@dataclass(frozen=True)
class FinetuneReport:
    """What was trained and what it is worth; ``scored_on`` names the split of ``scores``.

    ``by_corpus`` holds the scores of each corpus of that split where it has several. ``privacy`` is
    what the site promised and spent, None where nothing protects the patients.
    """

    folder: Path
    trained_from: str
    result: FinetuneResult
    scored_on: str
    scores: Scores | None
    by_corpus: Mapping[str, Scores]
    privacy: Mapping[str, Any] | None = None


def run_finetuning(
    job: FinetuneJob, listeners: tuple[Listener, ...] = (), decoding: Progress | None = None
) -> FinetuneReport:
    """Train a model for the task on the images of a manifest; write it to the new ``job.target``.

    It gets ``model.safetensors``, ``model_card.md``, ``result.json``, ``events.jsonl`` and, of a
    segmenter, ``examples/`` (truth beside prediction). Scores are of the test split or, where there
    is none, of the validation split, which then was also used to choose the weights.

    With a guard, training is private: the last weights are kept, and neither the model nor its card
    says anything that was measured on images; scores and examples stay in the folder.

    Raises DataError, ModelError or ConfigError for what cannot be used, PolicyRefused or
    BudgetExhausted where the site does not allow it; nothing is written then.
    """
    with fresh_folder(job.target) as folder:
        manifest = _training_manifest(job)
        model = job.task.build(job.start, job.seed).to(find_device(job.device))
        freeze(model, job.config)  # refused before a budget is set aside
        splits = _load(job, manifest, image_size_of(model), decoding)
        log = EventLog(folder / "events.jsonl", listeners)
        try:
            with _guarded(job, model, splits.train, log) as protection:
                result = finetune(
                    job.task,
                    model,
                    splits.train,
                    splits.validation,
                    job.config,
                    job.seed,
                    log,
                    protection,
                )
                spent = protection.release.result() if protection else None
        finally:
            log.close()
        return _write(folder, job, model, splits, result, spent)


def _load(job: FinetuneJob, manifest: Manifest, size: int, decoding: Progress | None) -> Splits:
    return splits_of(manifest, lambda split: job.task.load(manifest, split, size, decoding))


def _training_manifest(job: FinetuneJob) -> Manifest:
    """The manifest; for private training with the labeled patients only."""
    manifest = read_manifest(job.manifest)
    private = job.guard is not None
    refuse_settings(job.config, not private and bool(manifest.of_split("validation")), private)
    if job.guard is None:
        return manifest
    share = job.config.label_fraction
    labeled = labeled_manifest(manifest, share, job.seed)
    if len(manifest.rows) - len(labeled.rows) == len(training_rows(manifest)):
        raise ConfigError(
            f"label fraction {share:g} leaves none of the training patients, each of whom is drawn "
            "by itself; take a larger one, or another seed"
        )
    job.guard.check(labeled)
    return labeled


@contextmanager
def _guarded(
    job: FinetuneJob, model: Model, data: FrameDataset, log: EventLog
) -> Iterator[Protection | None]:
    """The protection, which gives back what it did not draw, however training ends."""
    if job.guard is None:
        yield None
        return
    views = views_for(job.config, job.task, model)
    protection = job.guard(data, views, optimization_for(job.config, model))
    release = protection.release
    try:
        log.emit("privacy_planned", site=job.guard.site, **(release.planned() or {}))
        yield protection
    finally:
        release.finish()
        log.emit("privacy_spent", site=job.guard.site, **(release.result() or {}))
        release.close()


def _write(
    folder: Path,
    job: FinetuneJob,
    model: Model,
    splits: Splits,
    result: FinetuneResult,
    spent: Mapping[str, Any] | None,
) -> FinetuneReport:
    """Measure the model and write all but the events."""
    report, answers, judged = _judge(job, model, splits, result, spent)
    card = _card(job, model, splits, report)
    job.task.save(folder / "model.safetensors", model, card)
    (folder / "model_card.md").write_text(card.markdown(), encoding="utf-8")
    (folder / "result.json").write_text(as_json({"schema": 1, "report": report}), encoding="utf-8")
    if judged is not None and answers is not None:
        job.task.draw(folder / "examples", answers, judged, report.scores)
    return report


def _judge(
    job: FinetuneJob,
    model: Model,
    splits: Splits,
    result: FinetuneResult,
    spent: Mapping[str, Any] | None,
) -> tuple[FinetuneReport, Answers | None, FrameDataset | None]:
    """What the model is worth, its answers, and the images that they are about."""
    judged, split = splits.test, "test"
    if judged is None:
        judged, split = splits.validation, "validation" if splits.validation else "nothing"
    answers, scores, corpora = None, None, {}
    if judged is not None:
        answers = job.task.answers(model, judged)
        scores = result.validation if split == "validation" else job.task.score(answers, judged)
        corpora = by_corpus(job.task, answers, judged)
    report = FinetuneReport(job.target, str(job.start), result, split, scores, corpora, spent)
    return report, answers, judged


def _card(job: FinetuneJob, model: Model, splits: Splits, report: FinetuneReport) -> ModelCard:
    asked = job.config.model_dump(exclude_none=True)
    settings = {name: str(value) for name, value in asked.items()} | _course(report.result)
    settings |= _trained(job.config, model)
    private = job.guard is not None and report.privacy is not None
    if private:
        del settings["batch_size"]  # patients were drawn instead
    if FRAME_SIZE in model.info:
        settings["frames"] = f"{model.info[FRAME_SIZE]} px a side, in tiles of the model's size"
    return ModelCard(
        task=job.task.title,
        backbone=model.info["backbone"],
        image_size=image_size_of(model),
        classes=job.task.classes,
        trained_from=report.trained_from,
        data=tuple(_uses(job.manifest.resolve().parent.name, splits, report.result)),
        scores=named_scores(report.scores) if report.scores and not private else {},
        scored_on=f"the {report.scored_on} split",
        by_corpus={} if private else {k: headline(v) for k, v in report.by_corpus.items()},
        settings={**settings, "seed": str(job.seed)},
        privacy=_privacy(job, report),
    )


def _trained(config: FinetuneConfig, model: Model) -> dict[str, str]:
    """Which part learned, where that is not all of it."""
    if config.train_last is None:
        return {}
    end = "decoder and head" if isinstance(model, Segmenter) else "the linear head"
    if config.train_last == 0:
        return {"trained": f"{end} alone; the backbone is as it started (a probe)"}
    return {"trained": f"the last {several(config.train_last, 'block')} and {end}"}


def _course(result: FinetuneResult) -> dict[str, str]:
    """What became of the steps that were asked for, where that is not all of them."""
    if not result.stopped_early:
        return {}
    return {"stopped": f"after {result.steps} steps, by the validation split"}


def _privacy(job: FinetuneJob, report: FinetuneReport) -> str:
    if job.guard is None or report.privacy is None:
        return ""
    return f"{guarantee({job.guard.site: report.privacy})}\n\n{SCORES_STAY}"


def _uses(name: str, splits: Splits, result: FinetuneResult) -> Iterator[DataUse]:
    yield DataUse(
        name=name,
        used_for="training",
        images=result.train_images,
        patients=result.train_patients,
    )
    if result.train_images is None:
        return
    for used_for, data in (("choosing weights", splits.validation), ("testing", splits.test)):
        if data is not None:
            patients = len(data.patients.unique())
            yield DataUse(name=name, used_for=used_for, images=len(data), patients=patients)
