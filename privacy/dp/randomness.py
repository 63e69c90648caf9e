"""The randomness that privacy rests on: a stream cipher under a key that nobody knows.

Who is drawn, which frames, how they are augmented and what noise is added all come from here. A
run's seed is public, and whoever could repeat these draws could take the noise off again. ChaCha20
(RFC 8439) under a key from the operating system gives bits that no feasible computation tells from
random ones; torch's and NumPy's own generators give no such promise.
"""

import os
import secrets
import threading
from typing import NoReturn

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms
from numpy.typing import NDArray
from torch import Tensor

from fedefm.errors import PrivacyError

KEY_BYTES = 32
BYTES_PER_KEY = 2**36  # 64 GiB; ChaCha20's block counter ends at 256 GiB
NORMALS_AT_ONCE = 2**16  # what fits a core's cache
_NONCE = bytes(16)  # block counter and nonce; every key is used for one stream only

Doubles = NDArray[np.float64]


class SecretStream:
    """Bytes, uniforms and normals that nobody can repeat.

    Threads may share a stream. A forked process goes on with a key of its own, and a stream cannot
    be copied or pickled: twice the same noise would be no noise.

    Args:
        key: 32 bytes that fix every draw, for tests only. Nothing that a run file or a site file
            says leads here.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._lock = threading.Lock()
        self._start(secrets.token_bytes(KEY_BYTES) if key is None else key)

    def take(self, count: int) -> bytearray:
        """The next ``count`` bytes of the stream."""
        with self._lock:
            if os.getpid() != self._process:
                self._start(secrets.token_bytes(KEY_BYTES))
            if count > BYTES_PER_KEY - self._used:
                self._start(bytes(self._next(KEY_BYTES)))
            return self._next(count)

    def words(self, count: int) -> NDArray[np.uint64]:
        """``count`` integers below 2^64, each as likely as another."""
        return np.frombuffer(self.take(8 * count), dtype="<u8")

    def uniform(self, count: int) -> Doubles:
        """``count`` numbers in [0, 1): multiples of 2^-53, each as likely as another."""
        uniforms: Doubles = (self.words(count) >> np.uint64(11)).astype(np.float64)
        uniforms *= 2.0**-53
        return uniforms

    def normal(self, count: int) -> Doubles:
        """``count`` standard normals in float64, by Box and Muller.

        The radius comes from 64 bits, so that a tail ends at 9.5 deviations, beyond which lies a
        mass of 2^-64 a pair; the angle comes from 53 bits.
        """
        normals = np.empty(count + count % 2)
        for start in range(0, len(normals), NORMALS_AT_ONCE):
            _box_muller(self, normals[start : start + NORMALS_AT_ONCE])
        return normals[:count]

    def generator(self) -> torch.Generator:
        """A torch generator that starts from secret bytes, for augmentation.

        ``manual_seed`` would keep 32 bits of a seed, few enough to try them all. What is drawn from
        it must not be released: the generator itself is not a cryptographic one.
        """
        generator = torch.Generator()
        state = generator.get_state()
        words = state[_MERSENNE].view(torch.int64)
        words.copy_(torch.from_numpy((self.words(len(words)) >> np.uint64(32)).astype(np.int64)))
        generator.set_state(state)
        return generator

    def __reduce__(self) -> NoReturn:
        raise PrivacyError("a secret stream cannot be copied: its noise would come twice")

    def _start(self, key: bytes) -> None:
        self._cipher: CipherContext = Cipher(algorithms.ChaCha20(key, _NONCE), None).encryptor()
        self._used, self._process = 0, os.getpid()

    def _next(self, count: int) -> bytearray:
        stream = bytearray(count)
        self._cipher.update_into(stream, stream)  # zeros encrypted are the key stream itself
        self._used += count
        return stream


# Where torch keeps the 624 words of its Mersenne twister, each in eight bytes of the state.
_MERSENNE = slice(24, 24 + 624 * 8)


def _box_muller(stream: SecretStream, into: Doubles) -> None:
    """Fill ``into``, of even length, with independent standard normals."""
    pairs = len(into) // 2
    words = stream.words(2 * pairs)
    radius = words[:pairs].astype(np.float64)
    radius += 0.5  # never 0
    radius *= 2.0**-64
    np.log(radius, out=radius)
    radius *= -2
    np.sqrt(radius, out=radius)
    angle = (words[pairs:] >> np.uint64(11)).astype(np.float64)
    angle *= 2 * np.pi * 2.0**-53
    turn = torch.from_numpy(angle)  # torch has vectorized both, which NumPy has not
    np.multiply(radius, _numpy(turn.cos()), out=into[:pairs])
    np.multiply(radius, _numpy(turn.sin()), out=into[pairs:])


def _numpy(tensor: Tensor) -> Doubles:
    array: Doubles = tensor.numpy()
    return array
