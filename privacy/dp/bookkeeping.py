"""Clipped gradients from one forward and one backward pass over the whole batch.

What each layer saw and the gradient of what it gave are enough for the norm of every unit's
gradient and, once the factors are known, for the weighted sum (Bu et al., "Differentially private
optimization on large model at small cost", arXiv 2210.00038).
The frames of a patient are taken together: the norm is that of their sum.
"""

from torch import Tensor, nn

from fedefm.train.objective import Objective
from privacy.dp.finite import over_finite_units
from privacy.dp.gradients import Clip, ClippedSum, UnitBatch, frame_losses, trainable
from privacy.dp.layers import RULES, Convolution, Rule
from privacy.dp.parts import Part, clipped
from privacy.dp.rerun import rerun
from privacy.dp.watch import Call, Watch


class BookkeepingGradients:
    """One pass forward, one back, one weighted sum.

    Refuses a trained layer that is used twice, one whose parameters are shared, used elsewhere or
    stand beside child modules, and one without the frames in front.
    """

    name = "bookkeeping"

    def clipped_sum(
        self, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
    ) -> ClippedSum:
        """As in ``Gradients``."""
        parameters = trainable(model)

        def attempt(step: UnitBatch) -> tuple[dict[str, Tensor], Tensor]:
            losses, parts = _parts(model, objective, step)
            return clipped(parts, parameters, losses, step, clip)

        return over_finite_units(step, parameters, attempt)


def _parts(
    model: nn.Module, objective: Objective, step: UnitBatch
) -> tuple[Tensor, dict[str, Part]]:
    """The frames' losses, and what the layers say about their parameters, by name."""
    parts: dict[str, Part] = {}

    def arrived(call: Call, gradient: Tensor) -> None:
        rule = _rule(call)
        found = rule(call, gradient, step) if rule else rerun(call, gradient, step)
        parts.update({f"{call.name}.{key}".lstrip("."): part for key, part in found.items()})

    with Watch(model, len(step.units), arrived, lambda call: not _rule(call)) as watch:
        losses = frame_losses(model, objective, step.batch)
        watch.backward((losses * step.shares).sum())
    return losses.detach(), parts


def _rule(call: Call) -> Rule | None:
    """The layer's own rule, if it was called in the ordinary way; a subclass has none."""
    layer = call.layer
    ordinary = len(call.args) == 1 and not call.keywords
    if isinstance(layer, Convolution):
        ordinary = ordinary and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return RULES.get(type(layer)) if ordinary else None
