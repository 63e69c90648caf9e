"""What a secure sum costs a member and a receiver, against Flower's SecAgg+ and the bare cipher.

    python tests/benchmarks/secagg.py [--quick] [--json PATH]

One process, one thread, process CPU time, all ways in turn within one run, median over repetitions.
16 members, each with a mask for every other one. ``flower`` calls the functions of the ``flwr``
package that its client and its server call, in their order and with its default ranges; reading
and writing of messages and the agreement on keys are left out on both sides. ``floor`` is the
least that hides a vector from so many: the key streams of AES-256 in counter mode and their
addition to 32-bit words, block by block, into memory that is there already. Peak memory is that of
a process of its own, input and result included, as a multiple of the float32 vector.
"""

import argparse
import gc
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import numpy as np
import psutil
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from privacy.secagg.masks import add_streams, add_vector, mask_input
from privacy.secagg.ring import BLOCK, Ring
from privacy.secagg.shares import combine, split

try:
    from Crypto.Protocol.SecretSharing import Shamir
    from flwr.common import ndarray_to_bytes
    from flwr.common.secure_aggregation import ndarrays_arithmetic as lists
    from flwr.common.secure_aggregation.quantization import dequantize, quantize
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
except ImportError:
    quantize = None

MEMBERS, THRESHOLD = 16, 9
CLIP, TARGET, MODULUS = 8.0, 2**22, 2**32  # the defaults of Flower's SecAggPlusWorkflow
SIZES = {"1M": 10**6, "10M": 10**7, "86M": 86 * 10**6}
DROPPED = {"none_dropped": 0, "one_dropped": 1, "two_dropped": 2}
HOW_TO_INSTALL = (
    "flwr is absent, so its columns stay empty: pip install -c constraints.txt -e '.[bench]', then "
    "pip install -c constraints.txt --no-deps flwr (it asks for older rich and typer than ours)"
)
Work = Callable[[], object]
Floats, Words, Bytes = NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint8]


def update(length: int, seed: int = 0, degrees: int = 3) -> Floats:
    """A heavy-tailed update: Student's t with so many degrees of freedom, scaled to norm 1."""
    x = np.random.default_rng(seed).standard_t(degrees, length).astype(np.float32)
    x /= np.linalg.norm(x)
    return x


def keys(count: int) -> list[bytes]:
    return [os.urandom(32) for _ in range(count)]


def our_member(x: Floats, ring: Ring) -> Bytes:
    """Own mask and those of 15 pairs, from the middle of the order of names."""
    own, plus, minus, rounding = keys(1), keys(8), keys(7), os.urandom(32)
    return ring.pack(mask_input(x, ring, own + plus, minus, rounding))


def our_receiver(arriving: Iterator[Bytes], length: int, ring: Ring, dropped: int) -> Floats:
    """Own masks of those who stayed, and theirs with each of those who did not."""
    stayed = MEMBERS - dropped
    total = np.zeros(length, np.uint32)
    for _ in range(stayed):
        add_vector(total, next(arriving), ring)
    pairs = keys(stayed * dropped)
    add_streams(total, pairs[::2], pairs[1::2] + keys(stayed))
    return ring.decode(total)


def flower_member(x: Floats) -> list[NDArray[np.int64]]:
    """As ``_collect_masked_vectors`` of ``flwr.client.mod.secure_aggregation.secaggplus_mod``."""
    parameters = lists.parameters_multiply([x], 1.0)
    vector = lists.factor_combine(TARGET, quantize(parameters, CLIP, TARGET))
    shapes = [each.shape for each in vector]
    vector = lists.parameters_addition(vector, pseudo_rand_gen(os.urandom(32), MODULUS, shapes))
    for number in range(MEMBERS - 1):
        mask = pseudo_rand_gen(os.urandom(32), MODULUS, shapes)
        step = lists.parameters_addition if number % 2 else lists.parameters_subtraction
        vector = step(vector, mask)
    return lists.parameters_mod(vector, MODULUS)


def flower_receiver(vector: list[NDArray[np.int64]], dropped: int) -> list[NDArray[np.float64]]:
    """As the last two stages of ``flwr.server.workflow.SecAggPlusWorkflow``."""
    stayed = MEMBERS - dropped
    total = vector
    for _ in range(stayed - 1):
        total = lists.parameters_addition(total, vector)
    total = lists.parameters_mod(total, MODULUS)
    shapes = lists.get_parameters_shape(total)
    for _ in range(stayed):
        mask = pseudo_rand_gen(os.urandom(32), MODULUS, shapes)
        total = lists.parameters_subtraction(total, mask)
    for number in range(dropped * (MEMBERS - 1)):
        mask = pseudo_rand_gen(os.urandom(32), MODULUS, shapes)
        step = lists.parameters_addition if number % 2 else lists.parameters_subtraction
        total = step(total, mask)
    weight, total = lists.factor_extract(lists.parameters_mod(total, MODULUS))
    mean = dequantize(total, CLIP, TARGET)
    for each in mean:
        each += -(stayed - 1) * CLIP
        each *= TARGET / max(1, weight)
    return mean


def floor(total: Words) -> None:
    """The key streams of 16 keys, added to ``total``."""
    ciphers = [Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor() for key in keys(16)]
    zeros, stream = bytes(4 * BLOCK), np.empty(BLOCK, np.uint32)
    for start in range(0, len(total), BLOCK):
        part = total[start : start + BLOCK]
        words = stream[: len(part)]
        for cipher in ciphers:
            cipher.update_into(memoryview(zeros)[: words.nbytes], words.view(np.uint8).data)
            np.add(part, words, out=part)


def seconds(ways: dict[str, Work], repetitions: int) -> dict[str, float]:
    """Median CPU seconds of each way, all in turn, after one turn that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(repetitions + 1):
        for name, work in ways.items():
            gc.collect()
            start = time.process_time()
            work()
            if repetition:
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in taken.items()}


def member(length: int, repetitions: int) -> dict[str, float]:
    x, wide, compact = update(length), Ring.default(MEMBERS, CLIP), compact_ring()
    there = np.zeros(length, np.uint32)
    ways: dict[str, Work] = {
        "ours": lambda: our_member(x, wide),
        "floor": lambda: floor(there),
        "compact": lambda: our_member(x, compact),
    }
    if quantize is not None:
        ways["flower"] = lambda: flower_member(x)
    row = {f"{name}_s": taken for name, taken in seconds(ways, repetitions).items()}
    row |= {"over_floor": row["ours_s"] / row["floor_s"]}
    if quantize is not None:
        row |= {
            "ratio": row["ours_s"] / row["flower_s"],
            "compact_ratio": row["compact_s"] / row["flower_s"],
        }
    return row | wire(x[: 10**6])


def compact_ring() -> Ring:
    return Ring.default(MEMBERS, CLIP, compact=True)


def wire(x: Floats) -> dict[str, float]:
    """Bytes a parameter of a masked vector."""
    row = {
        "bytes_per_param": our_member(x, Ring.default(MEMBERS, CLIP)).nbytes / len(x),
        "compact_bytes_per_param": our_member(x, compact_ring()).nbytes / len(x),
    }
    if quantize is not None:
        sent = sum(len(ndarray_to_bytes(each)) for each in flower_member(x))
        row["flower_bytes_per_param"] = sent / len(x)
    return row


def receiver(length: int, repetitions: int) -> dict[str, dict[str, float]]:
    ring = Ring.default(MEMBERS, CLIP)
    sent = itertools.repeat(our_member(update(length), ring))
    theirs = flower_member(update(length)) if quantize is not None else []

    def case(dropped: int) -> dict[str, float]:
        ways: dict[str, Work] = {"ours": lambda: our_receiver(sent, length, ring, dropped)}
        if theirs:
            ways["flower"] = lambda: flower_receiver(theirs, dropped)
        return with_ratio(seconds(ways, repetitions))

    return {name: case(dropped) for name, dropped in DROPPED.items()}


def with_ratio(taken: dict[str, float]) -> dict[str, float]:
    row = {f"{name}_s": each for name, each in taken.items()}
    other = next((name for name in taken if name != "ours"), None)
    return row | ({"ratio": taken["ours"] / taken[other]} if other else {})


def shamir(repetitions: int) -> dict[str, dict[str, float]]:
    """9 of 16 of 32 bytes; PyCryptodome shares 16 bytes at a time."""
    secret, times = os.urandom(32), range(20)
    shares = split(secret, THRESHOLD, MEMBERS)[:THRESHOLD]
    splitting: dict[str, Work] = {
        "ours": lambda: [split(secret, THRESHOLD, MEMBERS) for _ in times]
    }
    combining: dict[str, Work] = {"ours": lambda: [combine(shares, THRESHOLD) for _ in times]}
    if quantize is not None:
        halves = (secret[:16], secret[16:])
        points = [Shamir.split(THRESHOLD, MEMBERS, half)[:THRESHOLD] for half in halves]
        splitting["pycryptodome"] = lambda: [
            Shamir.split(THRESHOLD, MEMBERS, half) for _ in times for half in halves
        ]
        combining["pycryptodome"] = lambda: [Shamir.combine(each) for _ in times for each in points]
    return {
        name: with_ratio({way: each / 20 for way, each in seconds(ways, repetitions).items()})
        for name, ways in {"split": splitting, "combine": combining}.items()
    }


def errors(length: int, degrees: int) -> dict[str, float]:
    """Relative L2 error of the sum of 16 heavy-tailed updates of norm 1, against float64.

    Once the bound is the least power of two above every value, once the norm.
    """
    parts = [update(length, seed, degrees) for seed in range(MEMBERS)]
    exact = np.sum(parts, axis=0, dtype=np.float64)
    largest = 2.0 ** np.ceil(np.log2(max(np.abs(each).max() for each in parts)))
    row = {"bound_of_values": float(largest)}
    for bound, limit in {"values": largest, "norm": 1.0}.items():
        for bits in (24, 28):
            ring = Ring.default(MEMBERS, limit, value_bits=bits)
            row[f"{bound}_{bits}_bits"] = error_of(ring, parts, exact)
        ring = Ring.default(MEMBERS, limit, compact=True)
        row[f"{bound}_compact"] = error_of(ring, parts, exact)
    return row


def error_of(ring: Ring, parts: list[Floats], exact: NDArray[np.float64]) -> float:
    total = np.zeros(len(exact), np.uint32)
    for x in parts:
        add_vector(total, ring.pack(mask_input(x, ring, [], [], os.urandom(32))), ring)
    return float(np.linalg.norm(ring.decode(total) - exact) / np.linalg.norm(exact))


def memory(length: int) -> dict[str, float]:
    """Peaks of each way in a process of its own."""
    ways = ["member", "member_compact", "receiver"]
    ways += ["flower_member"] if quantize is not None else []
    peaks = {}
    for way in ways:
        command = [sys.executable, __file__, "--memory-of", way, str(length)]
        peaks[way] = float(subprocess.run(command, check=True, capture_output=True).stdout)
    return peaks


def own_memory(way: str, length: int) -> float:
    """Bytes above those before there was a vector, as a multiple of the vector's."""
    ring = compact_ring() if way == "member_compact" else Ring.default(MEMBERS, CLIP)
    our_member(np.zeros(1, np.float32), ring)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    if way == "receiver":
        arriving = (np.ones(4 * length, np.uint8) for _ in range(MEMBERS))  # one after another
        our_receiver(arriving, length, ring, dropped=1)
    elif way == "flower_member":
        flower_member(np.full(length, 0.5, np.float32))
    else:
        our_member(np.full(length, 0.5, np.float32), ring)
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return (int(status.split()[0]) * 1024 - before) / (4 * length)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "cpus": str(os.cpu_count()), "threads": "1"}
    for name in ("numpy", "cryptography", "flwr", "pycryptodome"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def show(name: str, row: dict[str, object]) -> None:
    print(f"{name} parameters, {MEMBERS} members")
    print(
        f"  member    ours {row['ours_s']:8.4f} s   compact {row['compact_s']:8.4f} s   "
        f"floor {row['floor_s']:8.4f} s   Flower {row.get('flower_s', float('nan')):8.4f} s   "
        f"ours/Flower {row.get('ratio', float('nan')):.3f}   ours/floor {row['over_floor']:.3f}"
    )
    print(
        f"  wire      {row['bytes_per_param']:.2f} bytes a parameter, "
        f"compact {row['compact_bytes_per_param']:.2f}, "
        f"Flower {row.get('flower_bytes_per_param', float('nan')):.2f}"
    )
    for case, each in row.get("receiver", {}).items():
        print(
            f"  receiver  {case:13} ours {each['ours_s']:8.4f} s   "
            f"Flower {each.get('flower_s', float('nan')):8.4f} s   "
            f"ours/Flower {each.get('ratio', float('nan')):.3f}"
        )
    if "memory" in row:
        peaks = ", ".join(f"{way} {peak:.2f}" for way, peak in row["memory"].items())
        print(f"  peak memory over the vector's: {peaks}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="no 86 M, fewer repetitions")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        way, length = arguments.memory_of
        print(own_memory(way, int(length)))
        return
    print("versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()))
    if quantize is None:
        print(HOW_TO_INSTALL)
    result = measure(arguments.quick)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(quick: bool) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, length in SIZES.items():
        if quick and name == "86M":
            continue
        row: dict[str, object] = {**member(length, 2 if quick else 5)}
        if not quick or name == "1M":
            row["receiver"] = receiver(length, 2 if quick else 3)
        row["memory"] = memory(length)
        show(name, row)
        result[name] = row
    result["shamir"] = shamir(3 if quick else 11)
    for name, each in result["shamir"].items():
        theirs = each.get("pycryptodome_s", float("nan"))
        print(
            f"Shamir {THRESHOLD} of {MEMBERS}, {name}: ours {1e3 * each['ours_s']:.3f} ms, "
            f"PyCryptodome {1e3 * theirs:.3f} ms"
        )
    result["error"] = {f"t{degrees}": errors(10**6, degrees) for degrees in (3, 5)}
    for name, row in result["error"].items():
        shown = ", ".join(f"{case} {error:.2g}" for case, error in row.items())
        print(f"relative L2 error of the sum, Student {name}: {shown}")
    return result | {"versions": versions()}


if __name__ == "__main__":
    main()
