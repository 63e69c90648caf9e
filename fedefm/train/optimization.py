"""From a gradient to a step: by which rule, at which rate, and what of it is kept for the next one.

What a rule keeps (momentum, moments) stays at the site and goes on from fit to fit, as in
UltraFedFM, while weights are swapped in and out of one model. So it is held by parameter name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

ADAM_BETAS = (0.9, 0.95)  # of MAE and UltraFedFM
TOKENS = ("token", "pos_embed")  # how the names of tokens and positions end

Named = Mapping[str, nn.Parameter]
Group = dict[str, Any]  # parameters of one rate and one decay, as torch takes them


@dataclass(frozen=True)
class Optimization:
    """A rule for steps; ``momentum_sgd`` and ``adamw`` make one.

    ``rule`` builds torch's optimizer. ``keeps`` names the entries of its state, each with the
    ending that its name gets behind the parameter's. ``shares`` says by parameter name which share
    of the rate is taken; where it says nothing, the whole. Decay is of matrices and filters: not of
    biases, norms, tokens and positions (He et al., CVPR 2022).
    """

    rule: Callable[[list[Group]], torch.optim.Optimizer]
    keeps: Mapping[str, str]
    weight_decay: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)

    def optimizer(
        self, named: Named, rate: float, kept: Mapping[str, Tensor]
    ) -> torch.optim.Optimizer:
        """Torch's optimizer of ``named``, going on from ``kept``, whose tensors it writes on."""
        optimizer = self.rule(self._groups(named, rate))
        for name, parameter in named.items():
            if all(name + ending in kept for ending in self.keeps.values()):
                optimizer.state[parameter] = {
                    entry: kept[name + ending] for entry, ending in self.keeps.items()
                }
        return optimizer

    def kept(self, optimizer: torch.optim.Optimizer, named: Named) -> dict[str, Tensor]:
        """What ``optimizer`` would go on from, by name; its own tensors, no copies."""
        return {
            name + ending: optimizer.state[parameter][entry]
            for name, parameter in named.items()
            for entry, ending in self.keeps.items()
            if entry in optimizer.state.get(parameter, {})
        }

    def _groups(self, named: Named, rate: float) -> list[Group]:
        together: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in named.items():
            decay = self.weight_decay if decays(name, parameter) else 0.0
            together.setdefault((self.shares.get(name, 1.0), decay), []).append(parameter)
        return [
            {"params": parameters, "lr": rate * share, "weight_decay": decay}
            for (share, decay), parameters in together.items()
        ]


def momentum_sgd(momentum: float) -> Optimization:
    """SGD with momentum; with a ``momentum`` of 0 nothing is kept."""
    return Optimization(partial(torch.optim.SGD, momentum=momentum), {"momentum_buffer": ""})


def adamw(weight_decay: float) -> Optimization:
    """Adam with decoupled weight decay, ``rate * weight_decay`` of a weight in each step."""
    keeps = {entry: f"#{entry}" for entry in ("step", "exp_avg", "exp_avg_sq")}
    # fused: on a CPU it takes a quarter of the time
    rule = partial(torch.optim.AdamW, betas=ADAM_BETAS, fused=True)
    return Optimization(rule, keeps, weight_decay)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay is meant for it."""
    return parameter.ndim > 1 and not name.endswith(TOKENS)
