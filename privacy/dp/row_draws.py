"""Random draws that belong to a sample's place in the batch, whatever the size of the batch.

Dropout draws one mask for the whole batch, so taking one sample away gives the others new masks,
and their outputs move for no reason that concerns privacy. Here sample i of the k-th draw of a pass
gets the numbers of ``(k, i)``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_STRIDE = 4096  # seeds from one draw to the next; more than samples in a batch


class RowDraws(TorchDispatchMode):
    """While active, torch's global generator is seeded anew for each sample of each draw.

    To be used within ``torch.random.fork_rng``. Generators that a model keeps for itself are left
    alone.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._samples = samples
        self._draws = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or named.get("generator") is not None:
            return func(*args, **named)
        self._draws += 1
        seed = self._draws * _STRIDE
        shape = _first_shape(args)
        dim = self._sample_dim(shape)
        if dim is None:
            return _seeded(seed, func, args, named)
        parts: list[Any] = []
        for i in range(self._samples):
            of_sample = _part_of(args, shape, dim, i, self._samples)
            parts.append(_seeded(seed + i, func, of_sample, named))
            if not _drawn_by_entry(parts[-1], _first_shape(of_sample)):
                return _seeded(seed, func, args, named)
        return args[0] if func.__name__.split(".")[0].endswith("_") else _joined(parts, dim)

    def _sample_dim(self, shape: Sequence[int]) -> int | None:
        """Along which dimension the samples lie; heads or tokens may lie within the first."""
        if self._samples in shape:
            return list(shape).index(self._samples)
        return 0 if shape and shape[0] and shape[0] % self._samples == 0 else None


def _first_shape(args: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape of what is drawn: that of the first tensor, or the first list of sizes."""
    for value in args:
        if isinstance(value, Tensor):
            return tuple(value.shape)
        if isinstance(value, (list, tuple)) and all(isinstance(size, int) for size in value):
            return tuple(value)
    return ()


def _drawn_by_entry(result: Any, shape: tuple[int, ...]) -> bool:
    """Whether each entry is a draw, as in dropout; fused attention, for one, is left whole."""
    results = result if isinstance(result, tuple) else (result,)
    return all(isinstance(value, Tensor) and value.shape == shape for value in results)


def _part_of(
    args: tuple[Any, ...], shape: Sequence[int], dim: int, index: int, samples: int
) -> tuple[Any, ...]:
    size = shape[dim] // samples

    def part(value: Any) -> Any:
        if isinstance(value, Tensor) and tuple(value.shape) == tuple(shape):
            return value.narrow(dim, index * size, size)
        if isinstance(value, (list, tuple)) and tuple(value) == tuple(shape):
            return [*shape[:dim], size, *shape[dim + 1 :]]
        return value

    return tuple(part(value) for value in args)


def _seeded(
    seed: int, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed is slow where no GPU is in use
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
    return func(*args, **kwargs)


def _joined(parts: list[Any], dim: int) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(column, dim) for column in zip(*parts, strict=True))
    return torch.cat(parts, dim)
