"""The global model on disk, with the card that says what it was trained on and what protects it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedefm.config import FederationConfig, RunConfig
from fedefm.finetune.card import DataUse, ModelCard, guarantee
from fedefm.model.checkpoint import save_checkpoint
from fedefm.train.pretext import Pretrained, product_of
from fedefm.train.run_files import MODEL
from fedefm.train.start import StartingPoint

CARD = "model_card.md"
Holdings = Mapping[str, Mapping[str, Mapping[str, int]]]  # site -> corpus -> split -> images
Spent = Mapping[str, Mapping[str, Any] | None]  # ``privacy`` of ``result.json``


def save_foundation(
    folder: Path,
    run: RunConfig,
    model: Pretrained,
    holdings: Holdings,
    metrics: Mapping[str, float | int | None],
    privacy: Spent | None = None,
    start: StartingPoint | None = None,
    own_algorithm: str | None = None,
) -> None:
    """Write ``model.safetensors``, the card inside it, and ``model_card.md``.

    Where every site says in ``privacy`` what it promised, the card tells that, and no counts of
    training images.
    """
    origin = "scratch" if start is None else f"start {start.name!r}, sha256:{start.sha256}"
    promised = _promised(privacy or {})
    card = _card(run, model, holdings, metrics, promised, origin, own_algorithm)
    facts = {**model.info, "run": run.name, "card": card.model_dump_json()}
    save_checkpoint(folder / MODEL, model, facts)
    (folder / CARD).write_text(card.markdown(), encoding="utf-8")


def _card(
    run: RunConfig,
    model: Pretrained,
    holdings: Holdings,
    metrics: Mapping[str, float | int | None],
    promised: Mapping[str, Mapping[str, Any]],
    origin: str,
    own_algorithm: str | None,
) -> ModelCard:
    federation, product = run.federation, product_of(run)
    update = f" ({federation.update})" if federation.algorithm == "fedefm" else ""
    return ModelCard(
        task=product.title,
        backbone=run.model.backbone,
        image_size=run.model.image_size,
        classes=run.labels,
        trained_from=origin,
        data=tuple(_private_uses(promised) if promised else _uses(holdings)),
        scores=_scores(metrics, product.scale.name),
        scored_on="the test images of all sites",
        settings={
            "run": run.name,
            "scenario": federation.scenario,
            "algorithm": own_algorithm or federation.algorithm + update,
            **_links(federation),
            "rounds": str(federation.rounds),
            "trained": _trained(run),
            **_hidden(run),
            "seed": str(run.seed),
        },
        privacy=guarantee(promised) if promised else "",
    )


def _links(federation: FederationConfig) -> dict[str, str]:
    """Who exchanged with whom, where sites did."""
    decentralized = federation.scenario == "decentralized"
    told = {"topology": f"{federation.topology}, {federation.schedule}"}
    return told if decentralized else {}


def _trained(run: RunConfig) -> str:
    last = run.model.train_last
    return "all of it" if last is None else f"the last {last} blocks and a trainable head"


def _hidden(run: RunConfig) -> dict[str, str]:
    """What a masked autoencoder did not get to see."""
    if run.masking is None:
        return {}
    by = "by their texture" if run.masking.masking == "texture" else "at random"
    worse = ", the others made worse half of the time" if run.masking.degrade else ""
    return {"hidden": f"{run.masking.mask_ratio:.0%} of the patches, {by}{worse}"}


def _promised(privacy: Spent) -> dict[str, Mapping[str, Any]]:
    told = {site: entry for site, entry in privacy.items() if entry}
    return told if len(told) == len(privacy) else {}


def _uses(holdings: Holdings) -> Iterator[DataUse]:
    for site, corpora in holdings.items():
        for corpus, counts in corpora.items():
            if counts["train"]:
                yield DataUse(name=f"{site}: {corpus}", used_for="training", images=counts["train"])


def _private_uses(promised: Mapping[str, Mapping[str, Any]]) -> Iterator[DataUse]:
    for site, told in promised.items():
        patients = told["units"] if told["unit"] == "patient" else None
        images = told["units"] if told["unit"] == "image" else None
        yield DataUse(name=site, used_for="training", images=images, patients=patients)


def _scores(metrics: Mapping[str, float | int | None], name: str) -> dict[str, str]:
    score = metrics.get(f"global_{name}")
    if score is None:
        return {}
    low, high = metrics.get(f"global_{name}_low"), metrics.get(f"global_{name}_high")
    interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return {name: f"{score:.3f}{interval}"}
