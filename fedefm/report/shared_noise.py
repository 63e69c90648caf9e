"""What a reader must know where the noise of a private run was made by many sites together."""

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

from fedefm.report.numbers import epsilon

Told = Mapping[str, Any]  # of one site, as ``privacy`` of ``result.json`` has it


def honest_sites(told: Iterable[Told | None]) -> int:
    """Of how many honest sites' noise the epsilons speak; 1: every site added all of its own."""
    return max((one.get("noise_shares", 1) for one in told if one), default=1)


def trust_needed(by_site: Mapping[str, Told | None]) -> str:
    """On whom the epsilons of a run rest, and what is left of them; empty where on nobody."""
    shares = honest_sites(by_site.values())
    if shares == 1:
        return ""
    half = max(1, shares // 2)
    alone = ", ".join(
        f"{site} {epsilon(told['epsilon_own_noise'])}"
        for site, told in by_site.items()
        if told and "epsilon_own_noise" in told
    )
    return (
        f"No site added enough noise by itself. The epsilons hold where at least {shares} sites in "
        "each sum, the patient's own among them, add their share of the noise and keep it to "
        f"themselves. With k honest sites of these {shares} the noise is sqrt(k/{shares}) of what "
        f"is counted ({sqrt(half / shares):.2f} with {half}). If no other site is honest, epsilon "
        f"is: {alone}."
    )
