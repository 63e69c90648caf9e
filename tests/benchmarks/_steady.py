"""Training that takes a given time, so that rounds on any machine do the same local work.

Sites of a real federation have machines of their own; here they share a few cores. So a fit takes
its real steps, which are few, and then rests until its time is over: the time of the cores is left
to what a federation adds.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from fedefm.train.trainer import FitStats, PlainTrainer


def steady(seconds: Sequence[float], rest: Callable[[float], None]) -> None:
    """From now on the n-th fit of each trainer lasts ``seconds[n]``, over and over.

    ``rest`` gets what the steps themselves did not take.
    """
    fit, done = PlainTrainer.fit, WeakKeyDictionary[PlainTrainer, int]()

    def steady_fit(trainer: PlainTrainer, *args: Any, **named: Any) -> FitStats:
        started = time.perf_counter()
        stats = fit(trainer, *args, **named)
        number = done.get(trainer, 0)
        done[trainer] = number + 1
        lasts = seconds[number % len(seconds)]
        rest(max(0.0, lasts - (time.perf_counter() - started)))
        return stats

    PlainTrainer.fit = steady_fit  # type: ignore[method-assign]
