"""The worker's loop over a scripted core, and the process around it."""

import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import msgspec
import pytest

from antiphon.engine.channel import Address
from antiphon.engine.interface import (
    Abort,
    EngineOptions,
    EngineStats,
    Finished,
    FromWorker,
    GenerateRequest,
    LoadFailed,
    Ready,
    Shutdown,
    Started,
    StreamEvent,
    TokenEvent,
    ToWorker,
)
from antiphon.engine.worker.loop import (
    EXIT_LOAD_FAILED,
    EXIT_ORPHANED,
    EXIT_SHUTDOWN,
    EXIT_STEP_FAILED,
    QUIET,
    Connection,
    Worker,
    open_core,
    serve,
)
from antiphon.engine.worker.worker_process import WorkerSettings, settings_for, start_process
from tests.engine.scripted_core import RAISE_IN_STEP, REFUSE, Script, ScriptedCore, request

FACTORY = "tests.engine.scripted_core:open_core"


class Inbox:
    """A channel whose commands were written down: one list for each time that the worker looks."""

    def __init__(self, *commands: list[ToWorker]) -> None:
        self.commands = deque(commands)
        self.timeouts: list[float] = []
        self.sent: list[list[FromWorker]] = []
        self.flushed = False

    def receive(self, timeout: float) -> list[ToWorker]:
        self.timeouts.append(timeout)
        return self.commands.popleft() if self.commands else []

    def send(self, messages: list[FromWorker]) -> None:
        self.sent.append(messages)

    def flush(self, timeout: float) -> bool:
        self.flushed = timeout > 0
        return True

    def events(self) -> list[StreamEvent]:
        return [m for messages in self.sent for m in messages if isinstance(m, Started | TokenEvent | Finished)]


class Clock:
    """Seconds that pass with every look."""

    def __init__(self, tick: float) -> None:
        self.now = 0.0
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def core() -> ScriptedCore:
    return ScriptedCore(Script().options())


def work(*commands: list[ToWorker], tick: float = 0.001) -> Inbox:
    """What a worker does with these commands, until it has nothing to do and then is told to end."""
    inbox = Inbox(*commands, [], [], [], [], [], [Shutdown()])
    assert Worker(core(), inbox, clock=Clock(tick)).run() == EXIT_SHUTDOWN
    return inbox


def test_one_message_holds_the_events_of_one_step() -> None:
    inbox = work([request("a", 7, 8, max_tokens=2), request("b", 9, max_tokens=1)])
    first, second = inbox.sent[:2]
    assert [
        Started(request_id="a", cached_tokens=0),
        Started(request_id="b", cached_tokens=0),
        TokenEvent(request_id="a", index=0, token_ids=[7]),
        TokenEvent(request_id="b", index=0, token_ids=[9]),
        Finished(request_id="b", index=0, reason="length", prompt_tokens=1, completion_tokens=1),
    ] == first
    assert [
        TokenEvent(request_id="a", index=0, token_ids=[8]),
        Finished(request_id="a", index=0, reason="length", prompt_tokens=2, completion_tokens=2),
    ] == second[:2]


def test_it_waits_only_when_there_is_nothing_to_do() -> None:
    inbox = work([request("a", max_tokens=2)])
    assert [QUIET, 0.0, QUIET, 1.0 - QUIET] == inbox.timeouts[:4]


def test_it_rests_in_pieces_once_it_is_quiet_and_looks_up_after_each() -> None:
    inbox, resting = Inbox([], [], [], [Shutdown()]), core()
    resting.pieces = 2
    assert EXIT_SHUTDOWN == Worker(resting, inbox, clock=Clock(0.001)).run()
    assert [QUIET, 0.0, 0.0, 1.0 - QUIET] == inbox.timeouts


def test_it_rests_for_no_longer_than_a_heartbeat() -> None:
    inbox, resting = Inbox([], [], [], [Shutdown()]), core()
    resting.pieces = 9
    assert EXIT_SHUTDOWN == Worker(resting, inbox, clock=Clock(0.6)).run()
    assert [QUIET, 0.0, 0.0, QUIET] == inbox.timeouts
    assert [EngineStats] == [type(message) for messages in inbox.sent for message in messages]


def test_who_comes_while_it_rests_is_served_before_it_goes_on() -> None:
    inbox, resting = Inbox([], [request("a", max_tokens=1)], [Shutdown()]), core()
    resting.pieces = 9
    assert EXIT_SHUTDOWN == Worker(resting, inbox, clock=Clock(0.001)).run()
    assert (8, 1) == (resting.pieces, sum(isinstance(event, TokenEvent) for event in inbox.events()))


def test_with_work_it_does_not_rest() -> None:
    inbox, resting = Inbox([request("a", max_tokens=3)], [], [], [Shutdown()]), core()
    resting.pieces = 9
    assert EXIT_SHUTDOWN == Worker(resting, inbox, clock=Clock(0.001)).run()
    assert 9 == resting.pieces


def test_an_abort_ends_the_request_before_the_next_step() -> None:
    inbox = work([request("a", max_tokens=100)], [], [Abort(request_id="a")])
    tokens = [event for event in inbox.events() if isinstance(event, TokenEvent)]
    assert 2 == len(tokens)
    assert Finished(request_id="a", index=0, reason="abort", prompt_tokens=2, completion_tokens=2) in inbox.events()


def test_an_abort_that_arrives_with_its_request_is_applied_after_it() -> None:
    inbox = work([request("a", max_tokens=100), Abort(request_id="a")])
    assert [Finished(request_id="a", index=0, reason="abort", prompt_tokens=2)] == inbox.events()


def test_a_request_that_the_core_refuses_ends_alone() -> None:
    inbox = work([request("bad", REFUSE, n=2), request("good", max_tokens=1)])
    finished = [event for event in inbox.events() if isinstance(event, Finished)]
    assert [("bad", 0, "error"), ("bad", 1, "error"), ("good", 0, "length")] == [
        (event.request_id, event.index, event.reason) for event in finished
    ]
    assert "this request is refused" == finished[0].message


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread"), OSError(12, "no memory")])
def test_a_core_without_resources_ends_everything_and_the_worker(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = core()

    def fail(_: GenerateRequest) -> None:
        raise error

    monkeypatch.setattr(scripted, "add", fail)
    inbox = Inbox([request("a")])
    assert EXIT_STEP_FAILED == Worker(scripted, inbox).run()
    assert inbox.flushed


def test_a_step_that_fails_ends_everything_and_the_worker() -> None:
    inbox = Inbox([request("a", max_tokens=100, n=2)], [], [request("b", RAISE_IN_STEP)])
    assert EXIT_STEP_FAILED == Worker(core(), inbox).run()
    finished = [event for event in inbox.events() if isinstance(event, Finished)]
    assert [("a", 0), ("a", 1), ("b", 0)] == sorted((event.request_id, event.index) for event in finished)
    assert {("error", "The engine failed: RuntimeError.")} == {(event.reason, event.message) for event in finished}
    assert inbox.flushed


def test_shutdown_aborts_what_is_in_flight_and_closes_the_core() -> None:
    scripted = core()
    inbox = Inbox([request("a", max_tokens=100, n=2)], [], [Shutdown()])
    assert EXIT_SHUTDOWN == Worker(scripted, inbox).run()
    last = inbox.sent[-1]
    assert [("a", 0, "abort"), ("a", 1, "abort")] == [
        (event.request_id, event.index, event.reason) for event in last if isinstance(event, Finished)
    ]
    assert scripted.closed


def test_statistics_come_when_it_goes_idle() -> None:
    inbox = work([request("a", max_tokens=2)])
    assert isinstance(inbox.sent[1][-1], EngineStats)
    assert 2 == len(inbox.sent)


def test_statistics_come_while_it_works_and_while_it_idles() -> None:
    inbox = work([request("a", max_tokens=100)], tick=0.3)
    assert all(isinstance(messages[-1], EngineStats) for messages in inbox.sent[:-1])


def test_a_worker_whose_parent_has_gone_ends() -> None:
    worker = Worker(core(), Inbox(), heartbeat_interval=0.01, orphaned=lambda: True, clock=Clock(0.1))
    assert EXIT_ORPHANED == worker.run()


def test_loading_is_told_first() -> None:
    options = Script().options()
    inbox = Inbox([Shutdown()])
    assert EXIT_SHUTDOWN == serve(inbox, lambda: open_core(FACTORY, options), 1.0)
    assert isinstance(inbox.sent[0][0], Ready)


def test_a_failed_load_is_told_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    options = Script(load="raise").options()
    inbox = Inbox()
    assert EXIT_LOAD_FAILED == serve(inbox, lambda: open_core(FACTORY, options), 1.0)
    assert [[LoadFailed(message="no such model")]] == inbox.sent
    assert "ValueError: no such model" in capsys.readouterr().err


def test_the_process_ends_when_its_parent_is_another() -> None:
    settings = WorkerSettings(options=Script().options(), core_factory=FACTORY, parent_pid=0, import_path=sys.path)
    ended = subprocess.run(
        [sys.executable, "-m", "antiphon.engine.worker.loop"],
        input=msgspec.json.encode(settings),
        check=False,
        timeout=60,
    )
    assert EXIT_ORPHANED == ended.returncode


def test_the_process_ends_when_nobody_says_where_it_is_awaited() -> None:
    process = start_process(settings_for(Script().options(), FACTORY))
    process.communicate(timeout=60)
    assert EXIT_ORPHANED == process.returncode


def test_the_worker_imports_neither_server_nor_model_library() -> None:
    code = "import antiphon.engine.worker.loop, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60)  # noqa: S603
    assert not {"llama_cpp", "numpy", "starlette", "structlog"} & set(loaded.stdout.split())


def test_settings_survive_the_journey() -> None:
    settings = settings_for(EngineOptions(model_path="model.gguf"), FACTORY)
    assert settings == msgspec.json.decode(msgspec.json.encode(settings), type=WorkerSettings)
    connection = Connection(address=Address("ipc://somewhere"), heartbeat_interval=1.0)
    assert connection == msgspec.json.decode(msgspec.json.encode(connection), type=Connection)


PARENT = """
import asyncio, sys
from antiphon.engine.host.client import EngineClient
from tests.engine.scripted_core import Script

async def main():
    client = EngineClient(Script().options(), core_factory="tests.engine.scripted_core:open_core")
    await client.start()
    print(client._supervisor._worker._process.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_the_worker_dies_with_its_parent() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment) as parent:  # noqa: S603
        assert parent.stdout is not None
        pid = next(int(line) for line in parent.stdout if line.strip().isdigit())
        parent.kill()
    deadline = time.monotonic() + 2.0
    while _alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
