"""The global model on disk, with the card that says what it was trained on and what protects it."""

from collections.abc import Mapping
from pathlib import Path

from fedefm.config import RunConfig
from fedefm.finetune.card import DataUse, ModelCard
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import FoundationModel
from fedefm.train.run_folder import MODEL

CARD = "model_card.md"
Holdings = Mapping[str, Mapping[str, Mapping[str, int]]]  # site -> corpus -> split -> images


def save_foundation(
    folder: Path,
    run: RunConfig,
    model: FoundationModel,
    holdings: Holdings,
    metrics: Mapping[str, float | int | None],
) -> None:
    """Write ``model.safetensors``, the card inside it, and ``model_card.md``."""
    card = _card(run, model, holdings, metrics)
    facts = {**model.info, "run": run.name, "card": card.model_dump_json()}
    save_checkpoint(folder / MODEL, model, facts)
    (folder / CARD).write_text(card.markdown(), encoding="utf-8")


def _card(
    run: RunConfig,
    model: FoundationModel,
    holdings: Holdings,
    metrics: Mapping[str, float | int | None],
) -> ModelCard:
    federation = run.federation
    update = f" ({federation.update})" if federation.algorithm == "fedefm" else ""
    return ModelCard(
        task="foundation model: which corpus an image is from",
        backbone=run.model.backbone,
        image_size=run.model.image_size,
        classes=model.classes,
        trained_from="scratch",
        data=tuple(
            DataUse(name=f"{site}: {corpus}", used_for="training", images=counts["train"])
            for site, corpora in holdings.items()
            for corpus, counts in corpora.items()
            if counts["train"]
        ),
        scores=_scores(metrics),
        scored_on="the test images of all sites",
        settings={
            "run": run.name,
            "scenario": federation.scenario,
            "algorithm": federation.algorithm + update,
            "topology": f"{federation.topology}, {federation.schedule}",
            "rounds": str(federation.rounds),
            "seed": str(run.seed),
        },
    )


def _scores(metrics: Mapping[str, float | int | None]) -> dict[str, str]:
    accuracy = metrics.get("global_accuracy")
    if accuracy is None:
        return {}
    low, high = metrics.get("global_accuracy_low"), metrics.get("global_accuracy_high")
    interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return {"accuracy": f"{accuracy:.3f}{interval}"}
