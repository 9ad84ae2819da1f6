"""Where judging happens: this process, or workers that may die without harm."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SECONDS: Final = 300.0
"""A task that takes longer is taken for stuck."""


def executor(workers: int) -> Executor:
    """Where judging happens: this process for one worker, else that many others."""
    return Inline() if workers == 1 else Slots(workers)


class Inline(Executor):
    """Runs everything at once, in the caller's thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Runs the call and returns its finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # the future carries it to the caller
            future.set_exception(error)
        return future


class Slots(Executor):
    """One-worker process pools behind threads, so that a worker's death costs one task.

    A shared pool fails all that it holds when one worker dies. A task whose worker died is
    tried once more; one that is stuck is killed.
    """

    def __init__(self, slots: int, seconds: float = SECONDS) -> None:
        """Makes `slots` workers when they are needed; a task may take `seconds`."""
        self._threads = ThreadPoolExecutor(slots, "judge")
        self._mine = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self._seconds = seconds

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Runs the call in the next free worker."""
        return self._threads.submit(self._run, partial(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the workers."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools:
            pool.shutdown(wait, cancel_futures=cancel_futures)

    def _run(self, call: Callable[[], T]) -> T:
        try:
            return self._attempt(call)
        except BrokenProcessPool:
            return self._attempt(call)

    def _attempt(self, call: Callable[[], T]) -> T:
        pool, pid = self._worker()
        try:
            return pool.submit(call).result(self._seconds)
        except BrokenProcessPool:
            del self._mine.worker
            raise
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            del self._mine.worker
            raise TimeoutError(f"took longer than {self._seconds:.0f} s") from None

    def _worker(self) -> tuple[ProcessPoolExecutor, int]:
        """This thread's worker and its pid; spawned, because a fork would copy held locks."""
        if not hasattr(self._mine, "worker"):
            pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            self._pools.append(pool)
            self._mine.worker = pool, pool.submit(os.getpid).result()
        found: tuple[ProcessPoolExecutor, int] = self._mine.worker
        return found
