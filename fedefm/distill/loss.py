"""The per-sample loss of a student with many teachers (FedEFM, eq. 11).

For image b and experts j with weights w_jb:

    sum_j w_jb [ beta T^2 KL(softmax(expert_j / T) || softmax(student / T)) + (1 - beta) CE ]

The paper sums over the neighbors in eq. 11 and again in eq. 2; here there is one sum. It leaves the
soft loss open; this is the KL divergence, whose gradient to the student is that of cross-entropy.
Its expert weights are one number per edge; here they are per image. Nothing couples two images of a
batch, so that a private trainer can clip each image's gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fedefm.errors import ModelError


def expert_weights(similarities: Tensor) -> Tensor:
    """How much each expert teaches each image.

    Args:
        similarities: ``(J, B)``, ``1 - emd`` of J >= 1 experts.
    Returns:
        ``(J, B)``, not negative, sum 1 over J: similarities clamped at 0 and normalized; equal
        where no expert is similar at all.
    Raises:
        ModelError: no expert, or a similarity that is not finite.
    """
    if similarities.dim() != 2 or similarities.shape[0] == 0:
        raise ModelError(
            f"expert weights need similarities (experts >= 1, images), got "
            f"{tuple(similarities.shape)}"
        )
    if not similarities.isfinite().all():
        bad = int((~similarities.isfinite().all(1)).sum())
        raise ModelError(f"{bad} of {len(similarities)} experts have a similarity of NaN or Inf")
    positive = similarities.clamp(min=0.0)
    total = positive.sum(0)
    nobody = total <= 0
    shares = positive / total.masked_fill(nobody, 1.0)
    return torch.where(nobody, torch.full_like(shares, 1.0 / len(shares)), shares)


def restricted_logits(logits: Tensor, present: Tensor, penalty: float) -> Tensor:
    """``logits`` with those of absent classes lowered by ``penalty``.

    A site that never sees a class would teach its head to deny it. Lowering the logit in the
    cross-entropy makes that denial already true, so that less of it is learned. 0: no change.

    Args:
        logits: ``(B, K)``.
        present: ``(K,)`` bool, which classes occur at the site.
        penalty: >= 0, in logits.
    Raises:
        ModelError: ``present`` of another length, or a negative penalty.
    """
    if present.shape != logits.shape[-1:]:
        raise ModelError(
            f"the mask of present classes has shape {tuple(present.shape)}, the logits have "
            f"{logits.shape[-1]} classes"
        )
    if not penalty >= 0:
        raise ModelError(f"absent_penalty = {penalty} must not be negative")
    return logits - penalty * (~present).to(logits)


def distillation_loss(
    student: Tensor,
    experts: Tensor,
    weights: Tensor,
    labels: Tensor,
    temperature: float,
    beta: float,
    present: Tensor,
    penalty: float = 0.0,
) -> Tensor:
    """Multi-teacher distillation of each image (eq. 11); gradients go to student and weights.

    Args:
        student: ``(B, K)`` logits.
        experts: ``(J, B, K)`` logits of the same images; never receive a gradient.
        weights: ``(J, B)``, see ``expert_weights``.
        labels: ``(B,)`` class indices.
        temperature: T > 0 of both softmaxes; T^2 keeps the gradient's size.
        beta: share of the teachers' part in [0, 1]; 0 is (weighted) cross-entropy.
        present: ``(K,)`` bool, see ``restricted_logits``; of the cross-entropy only, since experts
            know classes that the site does not.
        penalty: by how much the logits of absent classes are lowered.
    Returns:
        ``(B,)`` losses, in nats.
    Raises:
        ModelError: shapes or settings that do not fit.
    """
    _check(student, experts, weights, labels, temperature, beta)
    hard = F.cross_entropy(restricted_logits(student, present, penalty), labels, reduction="none")
    loss = (1.0 - beta) * weights.sum(0) * hard
    if beta == 0.0:
        return loss
    soft_student = F.log_softmax(student / temperature, dim=-1)
    soft_experts = F.log_softmax(experts.detach() / temperature, dim=-1)
    divergence = (soft_experts.exp() * (soft_experts - soft_student)).sum(-1)  # (J, B)
    return loss + beta * temperature**2 * (weights * divergence).sum(0)


def _check(
    student: Tensor,
    experts: Tensor,
    weights: Tensor,
    labels: Tensor,
    temperature: float,
    beta: float,
) -> None:
    if experts.dim() != 3 or experts.shape[1:] != student.shape:
        raise ModelError(
            f"experts' logits {tuple(experts.shape)} do not fit the student's "
            f"{tuple(student.shape)}; all models need the same classes in the same order"
        )
    if weights.shape != experts.shape[:2] or labels.shape != student.shape[:1]:
        raise ModelError(
            f"weights {tuple(weights.shape)} or labels {tuple(labels.shape)} do not fit "
            f"{experts.shape[0]} experts and {student.shape[0]} images"
        )
    if not (temperature > 0 and 0 <= beta <= 1):
        raise ModelError(
            f"distillation needs temperature > 0 and beta in [0, 1], got {temperature} and {beta}"
        )
