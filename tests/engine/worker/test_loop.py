"""Tests of the worker's loop over a scripted core, and of its process."""

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
    IDLE_SECONDS,
    Connection,
    Worker,
    open_core,
    serve,
)
from antiphon.engine.worker.worker_process import WorkerSettings, settings_for, start_process
from tests.engine.scripted_core import RAISE_IN_STEP, REFUSE, Script, ScriptedCore, request

FACTORY = "tests.engine.scripted_core:open_core"


class Inbox:
    """A channel with given commands: one list for each call of ``receive``."""

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
    """A clock that ticks at every call."""

    def __init__(self, tick: float) -> None:
        self.now = 0.0
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def core() -> ScriptedCore:
    return ScriptedCore(Script().options())


def run_worker(*commands: list[ToWorker], tick: float = 0.001) -> Inbox:
    """Run a worker on these commands, and shut it down once it is idle."""
    inbox = Inbox(*commands, [], [], [], [], [], [Shutdown()])
    assert EXIT_SHUTDOWN == Worker(core(), inbox, clock=Clock(tick)).run()
    return inbox


def test_one_message_holds_the_events_of_one_step() -> None:
    inbox = run_worker([request("a", 7, 8, max_tokens=2), request("b", 9, max_tokens=1)])
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


def test_worker_waits_for_commands_only_without_requests() -> None:
    inbox = run_worker([request("a", max_tokens=2)])
    assert [IDLE_SECONDS, 0.0, IDLE_SECONDS, 1.0 - IDLE_SECONDS] == inbox.timeouts[:4]


def test_idle_worker_receives_commands_after_each_idle_step() -> None:
    inbox, idling = Inbox([], [], [], [Shutdown()]), core()
    idling.pieces = 2
    assert EXIT_SHUTDOWN == Worker(idling, inbox, clock=Clock(0.001)).run()
    assert [IDLE_SECONDS, 0.0, 0.0, 1.0 - IDLE_SECONDS] == inbox.timeouts


def test_idle_steps_end_after_a_heartbeat_interval() -> None:
    inbox, idling = Inbox([], [], [], [Shutdown()]), core()
    idling.pieces = 9
    assert EXIT_SHUTDOWN == Worker(idling, inbox, clock=Clock(0.6)).run()
    assert [IDLE_SECONDS, 0.0, 0.0, IDLE_SECONDS] == inbox.timeouts
    assert [EngineStats] == [type(message) for messages in inbox.sent for message in messages]


def test_request_between_two_idle_steps_is_served_first() -> None:
    inbox, idling = Inbox([], [request("a", max_tokens=1)], [Shutdown()]), core()
    idling.pieces = 9
    assert EXIT_SHUTDOWN == Worker(idling, inbox, clock=Clock(0.001)).run()
    assert (8, 1) == (idling.pieces, sum(isinstance(event, TokenEvent) for event in inbox.events()))


def test_worker_with_requests_runs_no_idle_step() -> None:
    inbox, idling = Inbox([request("a", max_tokens=3)], [], [], [Shutdown()]), core()
    idling.pieces = 9
    assert EXIT_SHUTDOWN == Worker(idling, inbox, clock=Clock(0.001)).run()
    assert 9 == idling.pieces


def test_abort_ends_the_request_before_the_next_step() -> None:
    inbox = run_worker([request("a", max_tokens=100)], [], [Abort(request_id="a")])
    tokens = [event for event in inbox.events() if isinstance(event, TokenEvent)]
    assert 2 == len(tokens)
    assert Finished(request_id="a", index=0, reason="abort", prompt_tokens=2, completion_tokens=2) in inbox.events()


def test_abort_that_arrives_with_its_request_ends_it() -> None:
    inbox = run_worker([request("a", max_tokens=100), Abort(request_id="a")])
    assert [Finished(request_id="a", index=0, reason="abort", prompt_tokens=2)] == inbox.events()


def test_refused_request_ends_alone() -> None:
    inbox = run_worker([request("bad", REFUSE, n=2), request("good", max_tokens=1)])
    finished = [event for event in inbox.events() if isinstance(event, Finished)]
    assert [("bad", 0, "error"), ("bad", 1, "error"), ("good", 0, "length")] == [
        (event.request_id, event.index, event.reason) for event in finished
    ]
    assert "this request is refused" == finished[0].message


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread"), OSError(12, "no memory")])
def test_core_without_resources_ends_the_worker(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = core()

    def fail(_: GenerateRequest) -> None:
        raise error

    monkeypatch.setattr(scripted, "add", fail)
    inbox = Inbox([request("a")])
    assert EXIT_STEP_FAILED == Worker(scripted, inbox).run()
    assert inbox.flushed


def test_failed_step_ends_every_request_and_the_worker() -> None:
    inbox = Inbox([request("a", max_tokens=100, n=2)], [], [request("b", RAISE_IN_STEP)])
    assert EXIT_STEP_FAILED == Worker(core(), inbox).run()
    finished = [event for event in inbox.events() if isinstance(event, Finished)]
    assert [("a", 0), ("a", 1), ("b", 0)] == sorted((event.request_id, event.index) for event in finished)
    assert {("error", "The engine failed: RuntimeError.")} == {(event.reason, event.message) for event in finished}
    assert inbox.flushed


def test_shutdown_aborts_every_request_and_closes_the_core() -> None:
    scripted = core()
    inbox = Inbox([request("a", max_tokens=100, n=2)], [], [Shutdown()])
    assert EXIT_SHUTDOWN == Worker(scripted, inbox).run()
    last = inbox.sent[-1]
    assert [("a", 0, "abort"), ("a", 1, "abort")] == [
        (event.request_id, event.index, event.reason) for event in last if isinstance(event, Finished)
    ]
    assert scripted.closed


def test_worker_sends_statistics_when_its_last_request_ends() -> None:
    inbox = run_worker([request("a", max_tokens=2)])
    assert isinstance(inbox.sent[1][-1], EngineStats)
    assert 2 == len(inbox.sent)


def test_worker_sends_statistics_with_and_without_requests() -> None:
    inbox = run_worker([request("a", max_tokens=100)], tick=0.3)
    assert all(isinstance(messages[-1], EngineStats) for messages in inbox.sent[:-1])


def test_worker_ends_when_its_parent_has_died() -> None:
    worker = Worker(core(), Inbox(), heartbeat_interval=0.01, orphaned=lambda: True, clock=Clock(0.1))
    assert EXIT_ORPHANED == worker.run()


def test_ready_is_the_first_message_of_a_worker() -> None:
    options = Script().options()
    inbox = Inbox([Shutdown()])
    assert EXIT_SHUTDOWN == serve(inbox, lambda: open_core(FACTORY, options), 1.0)
    assert isinstance(inbox.sent[0][0], Ready)


def test_failed_load_is_reported_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    options = Script(load="raise").options()
    inbox = Inbox()
    assert EXIT_LOAD_FAILED == serve(inbox, lambda: open_core(FACTORY, options), 1.0)
    assert [[LoadFailed(message="no such model")]] == inbox.sent
    assert "ValueError: no such model" in capsys.readouterr().err


def test_process_with_another_parent_ends() -> None:
    settings = WorkerSettings(options=Script().options(), core_factory=FACTORY, parent_pid=0, import_path=sys.path)
    ended = subprocess.run(
        [sys.executable, "-m", "antiphon.engine.worker.loop"],
        input=msgspec.json.encode(settings),
        check=False,
        timeout=60,
    )
    assert EXIT_ORPHANED == ended.returncode


def test_process_without_a_connection_ends() -> None:
    process = start_process(settings_for(Script().options(), FACTORY))
    process.communicate(timeout=60)
    assert EXIT_ORPHANED == process.returncode


def test_worker_imports_neither_server_nor_model_library() -> None:
    code = "import antiphon.engine.worker.loop, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60)  # noqa: S603
    assert not {"llama_cpp", "numpy", "starlette", "structlog"} & set(loaded.stdout.split())


def test_settings_and_connection_are_equal_after_encoding() -> None:
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


def test_worker_dies_with_its_parent() -> None:
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
