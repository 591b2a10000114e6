"""Two threads for work on grammars: one for quick work, one for slow work.

So a costly grammar delays only other costly grammars. Each thread does its work in order.
"""

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Final

CLOSE_SECONDS: Final = 2.0
"""Seconds that :meth:`MaskThreads.close` waits for running work. A piece of work takes a twentieth of that at most."""


class MaskThreads:
    """Runs work on grammars in two threads, which start with the first work, and wakes the threads that wait for it."""

    def __init__(self, thread_time: Callable[[], float] = time.thread_time) -> None:
        """Make the queues. ``thread_time`` returns the processor time of the calling thread, in seconds."""
        self.thread_time: Final = thread_time
        self._ended: Final = Condition()
        self._queues: Final = (SimpleQueue[Callable[[], None] | None](), SimpleQueue[Callable[[], None] | None]())
        self._threads: list[Thread] = []

    def submit(self, work: Callable[[], None], *, slow: bool) -> None:
        """Queue work, which must not raise; ``slow`` selects the thread."""
        if not self._threads:
            named = zip(("quick-masks", "slow-masks"), self._queues, strict=True)
            self._threads = [Thread(target=self._run, args=(queue,), name=name, daemon=True) for name, queue in named]
            for thread in self._threads:
                thread.start()
        self._queues[slow].put(work)

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until finished work makes ``condition`` true, ``timeout`` seconds at most; return its value."""
        if condition():
            return True
        if timeout <= 0.0:
            return False
        with self._ended:
            return self._ended.wait_for(condition, timeout)

    def end(self, record: Callable[[], None]) -> None:
        """Call ``record``, which notes that work has ended, and wake the waiting threads."""
        with self._ended:
            record()
            self._ended.notify_all()

    def close(self) -> bool:
        """End both threads after the queued work; return False when the running work takes too long."""
        for queue in self._queues:
            queue.put(None)
        until = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @staticmethod
    def _run(queue: "SimpleQueue[Callable[[], None] | None]") -> None:
        while (work := queue.get()) is not None:
            work()
            del work
