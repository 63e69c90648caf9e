"""Sees what goes into each trained layer, and the gradient of what comes out of it.

The weights take no part in the backward pass: while a layer runs, its parameters count as
constants, so that autograd computes gradients of activations only. Whatever then still depends on a
parameter used it outside of its layer, and is refused: its gradient by unit would be missed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node

from fedefm.errors import PrivacyError
from privacy.dp.gradients import trainable


@dataclass
class Call:
    """One pass through one layer.

    ``name`` is the layer's in the model; ``output`` is kept where it was asked for.
    """

    name: str
    layer: nn.Module
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    output: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among what the layer was called with."""
        return [t for t in (*self.args, *self.keywords.values()) if isinstance(t, Tensor)]


Arrived = Callable[[Call, Tensor], None]


class Watch:
    """Watches a model for the length of a ``with`` block, and leaves it as it was.

    Args:
        model: its trained parameters must each belong to one layer without children.
        frames: first dimension of all that layers take and give.
        arrived: called in the backward pass with a layer's call and its output's gradient.
        keep_output: which calls hold their output as well.
    Raises:
        PrivacyError: a model that cannot be watched, by the name of the module.
    """

    def __init__(
        self,
        model: nn.Module,
        frames: int,
        arrived: Arrived,
        keep_output: Callable[[Call], bool],
    ) -> None:
        self._frames, self._arrived, self._keep_output = frames, arrived, keep_output
        self._parameters = trainable(model)
        self._layers = _trained_layers(model)
        self._called: set[str] = set()
        self._handles: list[Any] = []
        self._anchor = torch.zeros((), requires_grad=True)
        self._going_back = False

    def __enter__(self) -> "Watch":
        for name, layer in self._layers.items():
            self._handles += [
                layer.register_forward_pre_hook(self._before),
                layer.register_forward_hook(partial(self._after, name), with_kwargs=True),
            ]
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        for handle in self._handles:
            handle.remove()
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)
        if isinstance(error, RuntimeError):  # autograd's own: operations in place, mostly
            raise PrivacyError(
                f"the layers of this model cannot be watched ({error}); use back-end 'loop'"
            ) from error

    def check(self, loss: Tensor) -> None:
        """Raises PrivacyError if ``loss`` depends on a parameter used outside of its layer."""
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        for node in _graph(loss):
            name = names.get(id(getattr(node, "variable", None)))
            if name:
                raise PrivacyError(
                    f"parameter {name} is used outside of its own layer's forward, so its "
                    "gradients by unit cannot be seen; use back-end 'loop'"
                )

    def backward(self, loss: Tensor) -> None:
        """Go back from ``loss``, calling ``arrived`` on the way. Raises as ``check``."""
        self.check(loss)
        self._going_back = True
        if loss.requires_grad:
            loss.backward()

    def _before(self, layer: nn.Module, _: Any) -> None:
        if torch.is_grad_enabled():
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(False)

    def _after(
        self, name: str, layer: nn.Module, args: tuple[Any, ...], keywords: Any, output: Any
    ) -> Any:
        if not torch.is_grad_enabled():
            return output
        for key, parameter in layer.named_parameters(recurse=False):
            parameter.requires_grad_(f"{name}.{key}".lstrip(".") in self._parameters)
        call = Call(name, layer, args, keywords)
        self._check(call, output)
        if self._keep_output(call):
            call.output = output.detach()
        self._called.add(name)
        versions = [t._version for t in call.tensors]
        arrived = partial(self._gradient, call, versions)
        return _Tap.apply(output, self._anchor, arrived)  # type: ignore[no-untyped-call]

    def _check(self, call: Call, output: Any) -> None:
        if call.name in self._called:
            raise PrivacyError(
                f"module {call.name} is used twice in one forward pass, so its gradients by unit "
                "would have to be joined; use back-end 'loop' or give each use a module of its own"
            )
        for value in (output, *call.tensors):
            if not isinstance(value, Tensor) or value.shape[:1] != (self._frames,):
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise PrivacyError(
                    f"module {call.name} takes or gives {shape}, not one entry for each of "
                    f"{self._frames} frames in front, so its gradients cannot be told apart by "
                    "unit; use back-end 'loop'"
                )

    def _gradient(self, call: Call, versions: list[int], gradient: Tensor) -> None:
        if [t._version for t in call.tensors] != versions:
            raise PrivacyError(
                f"the input of module {call.name} was changed in place after it was used; use an "
                "operation that is not in place, or back-end 'loop'"
            )
        if not self._going_back:
            raise PrivacyError(
                f"the objective itself goes back through module {call.name}; use back-end 'loop'"
            )
        self._arrived(call, gradient)
        call.args, call.keywords, call.output = (), {}, None  # the graph would hold them on


class _Tap(torch.autograd.Function):
    """Passes a layer's output on, and hands over its gradient.

    A view made in here may not be changed in place: autograd refuses, where a hook on the tensor
    would go on with a gradient that is not the layer's. ``anchor`` needs a gradient, so that the
    graph also begins where nothing before was trained.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor, arrived: Any) -> Tensor:
        ctx.arrived = arrived
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        ctx.arrived(gradient)
        return gradient if ctx.needs_input_grad[0] else None, None, None


def _trained_layers(model: nn.Module) -> dict[str, nn.Module]:
    owners: dict[int, str] = {}
    layers = {}
    for name, module in model.named_modules():
        own = {n: p for n, p in module.named_parameters(recurse=False) if p.requires_grad}
        if own and next(module.children(), None) is not None:
            raise PrivacyError(
                f"{type(module).__name__} {name or '(the model itself)'} has parameters "
                f"({', '.join(own)}) beside its modules, so they cannot be watched; put them into "
                "a module of their own, or use back-end 'loop'"
            )
        for key, parameter in own.items():
            other = owners.setdefault(id(parameter), name)
            if other != name:
                raise PrivacyError(
                    f"modules {other} and {name} share the parameter {key}, so its gradients by "
                    "unit would have to be joined; use back-end 'loop'"
                )
        if own:
            layers[name] = module
    return layers


def _graph(loss: Tensor) -> Iterator[Node]:
    """Every node that ``loss`` depends on."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [parent for parent, _ in node.next_functions]
