"""Two threads beside the steps, for work on grammars: one for what is quick, one for what is not.

So a costly grammar delays other costly ones alone. A thread takes its work in order.
"""

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Final

CLOSE_SECONDS: Final = 2.0
"""How long :meth:`MaskThreads.close` waits for the work at hand: a piece of it is bounded to a twentieth of that."""


class MaskThreads:
    """Starts its threads with the first work, and wakes waiting threads when a piece of work has ended."""

    def __init__(self, thread_time: Callable[[], float] = time.thread_time) -> None:
        """``thread_time`` gives the seconds of processor time that the calling thread has used."""
        self.thread_time: Final = thread_time
        self._ended: Final = Condition()
        self._queues: Final = (SimpleQueue[Callable[[], None] | None](), SimpleQueue[Callable[[], None] | None]())
        self._threads: list[Thread] = []

    def submit(self, work: Callable[[], None], *, slow: bool) -> None:
        """Queue work, which must not raise; ``slow`` chooses the thread."""
        if not self._threads:
            named = zip(("quick-masks", "slow-masks"), self._queues, strict=True)
            self._threads = [Thread(target=self._run, args=(queue,), name=name, daemon=True) for name, queue in named]
            for thread in self._threads:
                thread.start()
        self._queues[slow].put(work)

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until work that has ended makes ``condition`` true, ``timeout`` seconds at most; return its value."""
        if condition():
            return True
        if timeout <= 0.0:
            return False
        with self._ended:
            return self._ended.wait_for(condition, timeout)

    def end(self, record: Callable[[], None]) -> None:
        """Let work ``record`` that it has ended, and wake the threads that wait for that."""
        with self._ended:
            record()
            self._ended.notify_all()

    def close(self) -> bool:
        """End both threads after what is queued, which must end at once; False when the work at hand takes longer."""
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
