"""What a job's process no longer needs goes soon, also where it is not freed by itself.

Each of FLARE's transfers is a cycle of objects that holds a buffer of 1 MiB. Some grow old enough
that only a full collection finds them, and Python plans one when the old objects have grown by a
quarter; the libraries of a job's process make some 300,000. Over a long job such buffers would pile
up: 0.1 MiB a round.
"""

import gc

FULL_EVERY = 2  # collections of the middle-aged; Python's own is 10, for all that libraries hold


def look_past_libraries() -> None:
    """Let the collector look at what is made from now on, and no more at what is there by now.

    Once in a process: what later jobs in it have made is to be found.
    """
    if gc.get_freeze_count() == 0:
        gc.collect()
        gc.freeze()
        gc.collect()  # a quarter of what is found now is what a full collection waits for
        gc.set_threshold(*gc.get_threshold()[:2], FULL_EVERY)
