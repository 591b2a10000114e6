import threading
from collections.abc import Iterator

import pytest

from antiphon.engine.grammars import mask_threads
from antiphon.engine.grammars.mask_threads import MaskThreads

WAIT = 30.0


@pytest.fixture
def threads() -> Iterator[MaskThreads]:
    threads = MaskThreads()
    yield threads
    threads.close()


def test_slow_work_does_not_block_quick_work(threads: MaskThreads) -> None:
    gate, ended = threading.Event(), list[str]()
    threads.submit(lambda: assert_opens(gate), slow=True)
    threads.submit(lambda: threads.end(lambda: ended.append("quick")), slow=False)
    assert threads.wait(lambda: ["quick"] == ended, WAIT)
    gate.set()


def assert_opens(gate: threading.Event) -> None:
    assert gate.wait(WAIT)


def test_work_is_done_in_order(threads: MaskThreads) -> None:
    done: list[int] = []
    for number in range(100):
        threads.submit(lambda number=number: threads.end(lambda: done.append(number)), slow=False)  # type: ignore[misc]
    assert threads.wait(lambda: len(done) == 100, WAIT)
    assert list(range(100)) == done


def test_waiting_too_long_returns_false(threads: MaskThreads) -> None:
    assert [False, False] == [threads.wait(lambda: False, timeout) for timeout in (0.0, 0.001)]


def test_no_thread_runs_before_the_first_work() -> None:
    before = threading.active_count()
    threads = MaskThreads()
    assert threads.close()
    assert before == threading.active_count()


def test_closing_does_the_queued_work_and_ends_the_threads(threads: MaskThreads) -> None:
    done: list[str] = []
    threads.submit(lambda: done.append("queued"), slow=True)
    assert threads.close()
    assert ["queued"] == done
    assert not any(thread.is_alive() for thread in threads._threads)


def test_closing_returns_false_while_work_does_not_end(threads: MaskThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_threads, "CLOSE_SECONDS", 0.01)
    gate = threading.Event()
    threads.submit(lambda: assert_opens(gate), slow=True)
    assert not threads.close()
    gate.set()
