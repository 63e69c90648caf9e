"""Work on many files by several processes, in bounded memory.

No more tasks than twice the processes are under way, so neither tasks nor results pile up. A
decoder can take its process down with it on a corrupt file; that file is then told, and the others
go on. Workers leave Ctrl-C to the process that started them, and end when that one is gone.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

WAITING = 2  # tasks for each process


def finished(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    processes: int,
    lost: Callable[[Task], Result],
) -> Iterator[Result]:
    """The result of each task as it comes, in any order.

    Args:
        work: a function of a module; it, tasks and results are sent between processes.
        processes: 1 works in this process, where a decoder that crashes ends all.
        lost: the result of a task that ends its process.
    """
    if processes == 1:
        yield from map(work, tasks)
        return
    waiting = deque(tasks)
    while waiting:
        suspects: list[Task] = []
        yield from _until_broken(work, waiting, processes, suspects)
        for task in suspects:  # one of them has ended its process
            alone: list[Task] = []
            yield from _until_broken(work, deque([task]), 1, alone)
            yield from map(lost, alone)


def _until_broken(
    work: Callable[[Task], Result], waiting: deque[Task], processes: int, suspects: list[Task]
) -> Iterator[Result]:
    """Work until nothing is ``waiting``, or a process ends; ``suspects`` get what was under way."""
    context = multiprocessing.get_context("spawn")  # this process may have threads
    pool = ProcessPoolExecutor(processes, context, initializer=_begin)
    running: dict[Future[Result], Task] = {}
    try:
        while waiting or running:
            while waiting and len(running) < WAITING * processes:
                with _ctrl_c_later():
                    running[pool.submit(work, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                del running[future]
                yield result
    except BrokenProcessPool:
        suspects += running.values()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """A worker begins with Ctrl-C blocked: it would tell of it while it loads its modules."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
