"""What a checkpoint is worth on images with labels or masks, and how that is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedefm.data.dataset import Progress
from fedefm.data.manifest import read_manifest
from fedefm.errors import DataError, ModelError
from fedefm.finetune.card import Scores, headline, named_scores
from fedefm.finetune.checkpoint import (
    is_classifier,
    is_diagnosis,
    is_segmenter,
    read_classifier,
    read_diagnosis,
    read_foundation,
    read_trained_segmenter,
)
from fedefm.finetune.classify import LabelClassification
from fedefm.finetune.corpora import CorpusRecognition
from fedefm.finetune.device import find_device
from fedefm.finetune.diagnose import Diagnosis
from fedefm.finetune.diagnosis_scores import DiagnosisScores
from fedefm.finetune.groups import by_corpus, pooled
from fedefm.finetune.mask_scores import SegmentationScores
from fedefm.finetune.painting import judge_of
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.task import Judge, Model, image_size_of
from fedefm.model.checkpoint import read_checkpoint_info
from fedefm.model.encoder import is_encoder
from fedefm.model.mae import MaskedAutoencoder, is_masked_autoencoder, read_masked_autoencoder
from fedefm.words import several

NOTHING_FOUND = (
    "no pixel of a device was found: train for more steps, start from a foundation model, or see "
    "by fedefm data preview whether the masks are right"
)


@dataclass(frozen=True)
class Evaluated:
    """Scores over all images, and of each corpus and site where there are several."""

    scores: Scores
    by_corpus: dict[str, Scores]
    by_site: dict[str, Scores]


def evaluated(
    checkpoint: Path,
    manifests: Sequence[Path],
    split: str,
    seed: int,
    device: str,
    counter: Progress,
) -> Evaluated:
    """Scores of the checkpoint's model, whichever kind it is, on one split or on ``all``.

    ``manifests`` are one a site; a folder stands for all ``*/manifest.csv`` in it.
    """
    model, judge = opened(checkpoint)
    model.to(find_device(device))
    rows = None if split == "all" else split
    size = image_size_of(model)
    datasets = {
        site: judge.load(read_manifest(path), rows, size, counter)
        for site, path in _sites(manifests).items()
    }
    answers = {site: judge.answers(model, dataset) for site, dataset in datasets.items()}
    said, images = pooled(answers, datasets)
    sites = {site: judge.score(answers[site], datasets[site], seed) for site in datasets}
    overall = judge.score(said, images, seed)
    return Evaluated(overall, by_corpus(judge, said, images, seed), sites if len(sites) > 1 else {})


def opened(checkpoint: Path) -> tuple[Model | MaskedAutoencoder, Judge]:
    """The model in a checkpoint and who can judge it."""
    info = read_checkpoint_info(checkpoint)
    if is_segmenter(info):
        trained = read_trained_segmenter(checkpoint)
        return trained.model, Segmentation(trained.classes, trained.frame_size)
    if is_classifier(info):
        classifier = read_classifier(checkpoint)
        return classifier, LabelClassification(classifier.classes)
    if is_diagnosis(info):
        diagnosis = read_diagnosis(checkpoint)
        return diagnosis, Diagnosis(diagnosis.classes)
    if is_masked_autoencoder(info):
        painter = read_masked_autoencoder(checkpoint)
        return painter, judge_of(painter)
    if is_encoder(info):
        raise ModelError(
            f"checkpoint {checkpoint} holds an encoder, which has no task to be measured in; "
            "fine-tune it for one"
        )
    model = read_foundation(checkpoint)
    return model, CorpusRecognition(model.classes)


def show(scores: Scores, where: str) -> None:
    """As a table."""
    table = Table("score", "value [95 % interval]")
    table.title = escape(
        f"{several(scores.images, 'image')} of {several(scores.patients, 'patient')} in {where}"
    )
    for name, value in named_scores(scores).items():
        table.add_row(escape(name), escape(value))
    if isinstance(scores, SegmentationScores):
        height, width = scores.frame_px
        table.caption = f"pixels are those of the frames, resized to {width} x {height}"
    Console().print(table)
    if isinstance(scores, SegmentationScores) and all(d.value == 0 for d in scores.dice.values()):
        print(NOTHING_FOUND)
    if isinstance(scores, DiagnosisScores):
        show_confusion(scores)


def show_confusion(scores: DiagnosisScores) -> None:
    """A row for each true class, a column for each that was told."""
    classes = [escape(name) for name in scores.auroc]
    table = Table("images of", *(f"told {name}" for name in classes))
    for name, counts in zip(classes, scores.confusion, strict=True):
        table.add_row(name, *map(str, counts))
    Console().print(table)


def show_groups(groups: Mapping[str, Scores], what: str) -> None:
    """As a table of one row a group; nothing where there are none."""
    if not groups:
        return
    table = Table(what, "images", "patients", *headline(next(iter(groups.values()))))
    for name, scores in groups.items():
        cells = (name, str(scores.images), str(scores.patients), *headline(scores).values())
        table.add_row(*map(escape, cells))
    Console().print(table)


def _sites(manifests: Sequence[Path]) -> dict[str, Path]:
    """Each manifest under the name of its folder, or under its whole path where two share one."""
    paths: list[Path] = []
    for path in manifests:
        found = sorted(path.glob("*/manifest.csv")) if path.is_dir() else [path]
        if not found:
            raise DataError(f"there is no site with a manifest.csv in {path}")
        paths += found
    paths = list(dict.fromkeys(paths))
    names = [path.resolve().parent.name for path in paths]
    alone = len(set(names)) == len(names)
    return {name if alone else str(p): p for name, p in zip(names, paths, strict=True)}
