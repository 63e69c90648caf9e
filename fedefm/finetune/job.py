"""Fine-tuning from a manifest to a folder of results: what ``fedefm finetune`` does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fedefm.config import FinetuneConfig
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.folders import fresh_folder
from fedefm.data.loading import Splits, load_splits
from fedefm.data.manifest import Manifest, read_manifest
from fedefm.events import EventLog, Listener
from fedefm.finetune.card import DataUse, ModelCard, guarantee, named_scores
from fedefm.finetune.checkpoint import TrainedSegmenter, save_trained_segmenter
from fedefm.finetune.device import find_device
from fedefm.finetune.evaluate import SegmentationScores, evaluate_segmenter
from fedefm.finetune.examples import draw_examples
from fedefm.finetune.labels import labeled_manifest
from fedefm.finetune.result import as_json
from fedefm.finetune.segment import FinetuneResult, finetune_segmenter
from fedefm.finetune.start import Start
from fedefm.model.segmenter import Segmenter
from fedefm.train.protection import Protection

SCORES_STAY = (
    "How well the model does was measured on this site's own images, without noise; these scores, "
    "and the pictures beside them, are not in this card and stay with the site."
)


class Guard(Protocol):
    """Makes the protection of private fine-tuning; comes from whoever knows the privacy packages.

    ``check`` is asked before an image is decoded; the call sets the site's budget aside.
    """

    @property
    def site(self) -> str: ...

    def check(self, manifest: Manifest) -> None: ...

    def __call__(self, data: FrameDataset) -> Protection: ...


@dataclass(frozen=True)
class FinetuneJob:
    """What to train, on what, from where, and where to."""

    manifest: Path
    target: Path
    start: Start
    config: FinetuneConfig
    classes: tuple[str, ...]  # of the mask values; the first is the background
    seed: int = 1
    device: str = "cpu"
    guard: Guard | None = None  # None: trained without privacy


@dataclass(frozen=True)
class FinetuneReport:
    """What was trained and what it is worth; ``scored_on`` names the split of ``scores``.

    ``privacy`` is what the site promised and spent, None where nothing protects the patients.
    """

    folder: Path
    trained_from: str
    result: FinetuneResult
    scored_on: str
    scores: SegmentationScores | None
    privacy: Mapping[str, Any] | None = None


def run_finetuning(
    job: FinetuneJob, listeners: tuple[Listener, ...] = (), decoding: Progress | None = None
) -> FinetuneReport:
    """Train a segmenter on the masks of a manifest and write it to the new folder ``job.target``.

    It gets ``model.safetensors``, ``model_card.md``, ``result.json``, ``events.jsonl`` and
    ``examples/`` (truth beside prediction, best and worst). Scores are of the test split or, where
    there is none, of the validation split, which then was also used to choose the weights.

    With a guard, training is private: the last weights are kept, and neither the model nor its card
    says anything that was measured on images; scores and examples stay in the folder.

    Raises DataError, ModelError or ConfigError for what cannot be used, PolicyRefused or
    BudgetExhausted where the site does not allow it; nothing is written then.
    """
    with fresh_folder(job.target) as folder:
        manifest = _training_manifest(job)
        model = job.start.build(len(job.classes), job.seed).to(find_device(job.device))
        size = int(model.info["image_size"])
        splits = load_splits(manifest, job.classes, size, True, decoding)
        log = EventLog(folder / "events.jsonl", listeners)
        try:
            with _guarded(job, splits.train, log) as protection:
                result = finetune_segmenter(
                    model, splits.train, splits.validation, job.config, job.seed, log, protection
                )
                spent = protection.release.result() if protection else None
        finally:
            log.close()
        report = _judge(job, model, splits, result, spent)
        _write(folder, job, model, splits, report)
    return report


def _training_manifest(job: FinetuneJob) -> Manifest:
    """The manifest; for private training with the labeled patients only."""
    manifest = read_manifest(job.manifest)
    if job.guard is None:
        return manifest
    labeled = labeled_manifest(manifest, job.config.label_fraction, job.seed)
    job.guard.check(labeled)
    return labeled


@contextmanager
def _guarded(job: FinetuneJob, data: FrameDataset, log: EventLog) -> Iterator[Protection | None]:
    """The protection, which gives back what it did not draw, however training ends."""
    if job.guard is None:
        yield None
        return
    protection = job.guard(data)
    release = protection.release
    try:
        log.emit("privacy_planned", site=job.guard.site, **(release.planned() or {}))
        yield protection
    finally:
        release.finish()
        log.emit("privacy_spent", site=job.guard.site, **(release.result() or {}))
        release.close()


def _judge(
    job: FinetuneJob,
    model: Segmenter,
    splits: Splits,
    result: FinetuneResult,
    spent: Mapping[str, Any] | None,
) -> FinetuneReport:
    scores, scored_on = result.validation, "validation" if result.validation else "nothing"
    if splits.test is not None:
        scores, scored_on = evaluate_segmenter(model, splits.test), "test"
    return FinetuneReport(job.target, str(job.start), result, scored_on, scores, spent)


def _write(
    folder: Path, job: FinetuneJob, model: Segmenter, splits: Splits, report: FinetuneReport
) -> None:
    card = _card(job, model, splits, report)
    trained = TrainedSegmenter(model, job.classes, card)
    save_trained_segmenter(folder / "model.safetensors", trained)
    (folder / "model_card.md").write_text(card.markdown(), encoding="utf-8")
    (folder / "result.json").write_text(as_json({"schema": 1, "report": report}), encoding="utf-8")
    judged = splits.test or splits.validation
    if judged is not None and report.scores is not None:
        draw_examples(folder / "examples", model, judged, report.scores.image_dice)


def _card(job: FinetuneJob, model: Segmenter, splits: Splits, report: FinetuneReport) -> ModelCard:
    settings = {name: str(value) for name, value in job.config.model_dump().items()}
    private = job.guard is not None and report.privacy is not None
    if private:
        del settings["batch_size"]  # patients were drawn instead
    return ModelCard(
        task="segmentation of " + " and ".join(job.classes[1:]),
        backbone=model.info["backbone"],
        image_size=int(model.info["image_size"]),
        classes=job.classes,
        trained_from=report.trained_from,
        data=tuple(_uses(job.manifest.resolve().parent.name, splits, report.result)),
        scores=named_scores(report.scores) if report.scores and not private else {},
        scored_on=f"the {report.scored_on} split",
        settings={**settings, "seed": str(job.seed)},
        privacy=_privacy(job, report),
    )


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
