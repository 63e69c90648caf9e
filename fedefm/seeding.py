"""Every random stream of a run, found by its name.

A stream depends on nothing but ``(seed, site, round, purpose)``: not on the number of sites, the
order in which they run or what was drawn before. That is what makes a resumed run equal to an
uninterrupted one, and FLARE's simulator equal to the in-process one.

Secrets and differential-privacy noise never come from here.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_global_stream = threading.Lock()


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called ``names`` under ``seed``."""
    text = "\x1f".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(seed: int, site: str, round_index: int, purpose: str) -> "torch.Generator":
    """The torch stream of one site, round and purpose."""
    import torch  # loads slowly, and who divides images needs only NumPy's streams

    return torch.Generator().manual_seed(stream_seed(seed, site, round_index, purpose))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """The NumPy stream called ``names`` under ``seed``."""
    return np.random.default_rng(stream_seed(seed, *names))


@contextmanager
def own_global_stream() -> Iterator[None]:
    """A block that may seed torch's global generator, from which layers draw fresh weights.

    One thread at a time, and afterwards the generator is as it was.
    """
    import torch

    with _global_stream, torch.random.fork_rng(devices=[]):
        yield
