"""How fast a site learns in each round: at a constant rate that drops once, or in a half-cosine."""

from math import cos, pi

from fedefm.config import TrainingConfig


def learning_rate(training: TrainingConfig, rounds: int, round_index: int) -> float:
    """The rate of one of ``rounds`` rounds."""
    if training.schedule == "cosine":
        return cosine_rate(training.learning_rate, round_index, rounds, training.warmup_rounds)
    dropped = round_index >= training.decay_at * rounds
    return training.learning_rate * (training.decay_to if dropped else 1.0)


def cosine_rate(base: float, place: int, places: int, warmup: int) -> float:
    """Up in a straight line to ``base`` within ``warmup`` places, then by a half-cosine towards 0.

    It is above 0 at every place from 0 to ``places - 1``. MAE's and UltraFedFM's own code, whose
    line begins at 0, would spend its whole first round at a rate of 0.
    """
    if place < warmup:
        return base * (place + 1) / warmup
    return base * 0.5 * (1 + cos(pi * (place - warmup) / (places - warmup)))
