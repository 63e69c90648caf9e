"""What is minimized: one loss per image, never a batch mean.

Plain SGD averages these losses; DP-SGD clips the gradient of each. So nothing in an objective may
couple two samples of a batch.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.config import DistillConfig
from fedefm.data.batch import Batch as Batch  # what an objective takes, for those who wrap it
from fedefm.data.batch import noise_batch as noise_batch
from fedefm.distill.emd import pool_tokens, similarity, tokens
from fedefm.distill.loss import distillation_loss, expert_weights, restricted_logits
from fedefm.model.foundation import FoundationModel

Objective = Callable[[nn.Module, Batch], Tensor]  # (B,) losses, one per sample


def classification(present: Tensor, penalty: float) -> Objective:
    """Cross-entropy over the union of labels.

    Logits of labels that do not occur at the site (``present`` is a ``(K,)`` mask) are lowered by
    ``penalty``: a model trained here is then not taught to forget what only others hold. 0 is plain
    cross-entropy.
    """

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        logits = restricted_logits(model(batch.images), present, penalty)
        return functional.cross_entropy(logits, batch.labels, reduction="none")

    return losses


def distillation(
    experts: Sequence[FoundationModel], config: DistillConfig, present: Tensor, penalty: float
) -> Objective:
    """Distillation from returned experts, each weighted per sample (paper, eqs. 2, 3, 11)."""

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        student = as_foundation(model)
        features, logits = student.features_and_logits(batch.images)
        taught = [_expert_view(expert, batch.images) for expert in experts]
        agreement = torch.stack(
            [_agreement(features, seen, config, config.gradient) for seen, _ in taught]
        )
        return distillation_loss(
            logits,
            torch.stack([expert_logits for _, expert_logits in taught]),
            expert_weights(agreement),
            batch.labels,
            temperature=config.temperature,
            beta=config.beta,
            present=present,
            penalty=penalty,
        )

    return losses


def agreement(
    student: FoundationModel, expert: FoundationModel, images: Tensor, config: DistillConfig
) -> Tensor:
    """``(B,)`` similarities ``1 - EMD`` in [-1, 1] of two models on the same images (eq. 3)."""
    with torch.no_grad():
        return _emd_similarity(
            student.dense_features(images), expert.dense_features(images), config, "detach"
        )


def as_foundation(model: nn.Module) -> FoundationModel:
    """``model`` itself, or what a wrapper around it (per-sample gradients) wraps."""
    inner = getattr(model, "_module", model)
    if not isinstance(inner, FoundationModel):
        raise TypeError(f"distillation needs a FoundationModel, not {type(inner).__name__}")
    return inner


def _expert_view(expert: FoundationModel, images: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return expert.features_and_logits(images)


def _agreement(
    student: Tensor, expert: Tensor, config: DistillConfig, gradient: Literal["detach", "through"]
) -> Tensor:
    if config.weights == "uniform":
        return torch.ones(student.shape[0], device=student.device)
    return _emd_similarity(student, expert, config, gradient)


def _emd_similarity(
    student: Tensor, expert: Tensor, config: DistillConfig, gradient: Literal["detach", "through"]
) -> Tensor:
    nodes = (lambda x: pool_tokens(x, config.pool)) if config.pool else tokens
    return similarity(nodes(student), nodes(expert), config.node_weights, gradient)
