"""What the two back-ends on Opacus' hooks share: attaching them, and cleaning up behind them.

Opacus gives wrong gradients, without a word, where a convolution's input is not in plain memory
order or is padded with anything but zeros; it passes over layers in evaluation mode. All this is
refused here by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from fedefm.errors import FedEFMError, PrivacyError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LEFT_BEHIND = ("activations", "max_batch_len", "ft_compute_sample_grad")


@contextmanager
def attached(hooks: type[Any], model: nn.Module, backend: str) -> Iterator[Any]:
    """Opacus' ``hooks`` on ``model`` for the length of a ``with`` block.

    Raises:
        PrivacyError: a model that Opacus, or we, cannot trust them with.
    """
    _check_layers(model, backend)
    model.zero_grad(set_to_none=True)
    handles = [
        module.register_forward_pre_hook(partial(_check_order, name, backend))
        for name, module in model.named_modules()
        if isinstance(module, CONVOLUTIONS)
    ]
    mounted = None
    try:
        mounted = hooks(model, loss_reduction="sum")
        yield mounted
    except FedEFMError:
        raise
    except Exception as error:  # Opacus raises whatever it meets
        raise PrivacyError(
            f"back-end {backend!r} cannot go through this model "
            f"({type(error).__name__}: {error}); use back-end 'loop'"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        if mounted is not None:
            mounted.cleanup()
        _clean(model)


def _check_layers(model: nn.Module, backend: str) -> None:
    for name, module in model.named_modules():
        if not any(p.requires_grad for p in module.parameters(recurse=False)):
            continue
        if not module.training:
            raise PrivacyError(
                f"module {name} is in evaluation mode, where Opacus' hooks see nothing; call "
                f"train() or use another back-end than {backend!r}"
            )
        if isinstance(module, CONVOLUTIONS) and module.padding_mode != "zeros":
            raise PrivacyError(
                f"module {name} pads with {module.padding_mode!r}, which Opacus takes for zeros; "
                f"use another back-end than {backend!r}"
            )


def _check_order(name: str, backend: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
    for value in inputs:
        if isinstance(value, Tensor) and not value.is_contiguous():
            raise PrivacyError(
                f"the input of module {name} is not in plain memory order (channels_last, "
                "perhaps), where Opacus' gradients of convolutions are wrong; call contiguous(), "
                f"or use another back-end than {backend!r}"
            )


def _clean(model: nn.Module) -> None:
    for module in model.modules():
        for name in LEFT_BEHIND:
            if name in module.__dict__:
                delattr(module, name)
    model.zero_grad(set_to_none=True)
