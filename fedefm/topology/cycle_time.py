"""How long a round would take over a real network: a model, not a measurement.

The delay model of the multigraph paper (Do et al., ICCV 2023), by which FedEFM compares topologies.
Its published cycle times assume 4.8 Mbit of weights; give the size of the real model instead.
Times are in milliseconds, sizes in bits, rates in bits a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import asin, cos, inf, radians, sin, sqrt
from statistics import fmean

from torch import Tensor

from fedefm.topology.schedules import Schedule

EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True)
class SiteSpeed:
    """One site's computer and its access line."""

    step_ms: float  # T_c: one local step
    upload: float = inf  # C_UP, bits a second
    download: float = inf  # C_DN, bits a second


def latency_ms(one: tuple[float, float], other: tuple[float, float]) -> float:
    """``0.0085 km + 4`` over the great circle between two (latitude, longitude) in degrees."""
    return 0.0085 * _distance_km(one, other) + 4.0


def latencies_between(
    positions: Mapping[str, tuple[float, float]],
) -> dict[tuple[str, str], float]:
    """Latency of every pair of sites; ``build_graph("mst", ...)`` takes it as it is."""
    return {
        (one, other): latency_ms(positions[one], positions[other])
        for one, other in combinations(positions, 2)
    }


def model_bits(weights: Mapping[str, Tensor]) -> int:
    """Size of one sent model: what its tensors hold, without the few bytes of a message header."""
    return sum(8 * tensor.numel() * tensor.element_size() for tensor in weights.values())


def link_delay(
    sender: SiteSpeed,
    receiver: SiteSpeed,
    *,
    local_steps: int,
    latency: float,
    bits: float,
    receivers: int = 1,
    senders: int = 1,
    path_rate: float = inf,
) -> float:
    """``d(i,j) = u T_c(i) + l(i,j) + M / O(i,j)``, milliseconds.

    ``O(i,j)`` is the least of the sender's line shared by its ``receivers``, the receiver's line
    shared by its ``senders``, and ``path_rate``, the network's rate between the two.
    """
    rate = min(sender.upload / receivers, receiver.download / senders, path_rate)
    return local_steps * sender.step_ms + latency + 1000.0 * bits / rate


def schedule_time(
    schedule: Schedule,
    speeds: Mapping[str, SiteSpeed],
    latencies: Mapping[tuple[str, str], float],
    *,
    local_steps: int,
    bits: float,
    path_rate: float = inf,
) -> float:
    """Mean over one period of the slowest link in use: a synchronous round, milliseconds.

    A site without a partner only trains. ``latencies`` holds each used pair in either order.
    """

    def slowest(round_index: int) -> float:
        delays = [local_steps * speed.step_ms for speed in speeds.values()]
        for sender in speeds:
            receivers = schedule.partners(sender, round_index)
            for receiver in receivers:
                pair, flipped = (sender, receiver), (receiver, sender)
                delays.append(
                    link_delay(
                        speeds[sender],
                        speeds[receiver],
                        local_steps=local_steps,
                        latency=latencies[pair if pair in latencies else flipped],
                        bits=bits,
                        receivers=len(receivers),
                        senders=len(schedule.sources(receiver, round_index)),
                        path_rate=path_rate,
                    )
                )
        return max(delays)

    return fmean(slowest(round_index) for round_index in range(schedule.period))


def star_time(slowest_link: float, compute: float) -> float:
    """``2 (tau - u T_c) + u T_c``: up to the hub and down again, but trained once."""
    return 2.0 * (slowest_link - compute) + compute


def _distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Haversine formula."""
    (lat1, lon1), (lat2, lon2) = (tuple(map(radians, place)) for place in (one, other))
    chord = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 2.0 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(chord)))
