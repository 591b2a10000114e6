import io
import os
import signal
from collections.abc import AsyncGenerator, Iterator, Sequence

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from antiphon.cli.chat import PROMPT, Session, read_lines
from antiphon.cli.chat_client import ChatMessage, Piece
from antiphon.console.command_error import CommandError
from tests.conftest import Installed, LiveServer

Turn = Sequence[Piece | BaseException]


class ScriptedModel:
    """Answers turn by turn from a list, and records the conversations."""

    name = "scripted"

    def __init__(self, *turns: Turn) -> None:
        self._turns = list(turns)
        self.asked: list[list[tuple[str, str]]] = []
        self.closed = 0

    async def answer(self, messages: list[ChatMessage]) -> AsyncGenerator[Piece, None]:
        self.asked.append([(message.role, message.content) for message in messages])
        try:
            for item in self._turns.pop(0) if self._turns else [Piece("ok")]:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed += 1


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


def talk(portal: BlockingPortal, model: ScriptedModel, *lines: str, system: str | None = None) -> None:
    Session(portal, model, system).run(lines)


def test_each_turn_sends_the_whole_conversation(portal: BlockingPortal, capsys: pytest.CaptureFixture[str]) -> None:
    model = ScriptedModel([Piece("Hel"), Piece("lo")])
    talk(portal, model, "Hi", "", "Bye", system="Be kind.")
    system = ("system", "Be kind.")
    assert [system, ("user", "Hi")] == model.asked[0]
    assert [system, ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")] == model.asked[1]
    assert "Hello\nok\n" == capsys.readouterr().out


def test_reset_forgets_the_turns_and_keeps_the_system_message(portal: BlockingPortal) -> None:
    model = ScriptedModel()
    talk(portal, model, "Hi", "/reset", "Ho", system="Be kind.")
    assert [("system", "Be kind."), ("user", "Ho")] == model.asked[1]


def test_system_command_sets_and_clears_the_system_message(portal: BlockingPortal) -> None:
    model = ScriptedModel()
    talk(portal, model, "/system Be brief.", "Hi", "/system", "Ho")
    assert [("system", "Be brief."), ("user", "Hi")] == model.asked[0]
    assert [("user", "Hi"), ("assistant", "ok"), ("user", "Ho")] == model.asked[1]


def test_exit_ends_the_conversation(portal: BlockingPortal) -> None:
    model = ScriptedModel()
    talk(portal, model, "/exit", "Hi")
    assert [] == model.asked


def test_unknown_command_prints_help(portal: BlockingPortal, capsys: pytest.CaptureFixture[str]) -> None:
    talk(portal, ScriptedModel(), "/wat")
    captured = capsys.readouterr()
    assert ("", True) == (captured.out, "/reset" in captured.err)


def test_reasoning_is_not_part_of_the_answer(portal: BlockingPortal, capsys: pytest.CaptureFixture[str]) -> None:
    model = ScriptedModel([Piece(reasoning="hm"), Piece("4")])
    talk(portal, model, "2+2?", "Sure?")
    assert ("assistant", "4") == model.asked[1][1]
    assert "4\nok\n" == capsys.readouterr().out


def test_failed_turn_is_not_part_of_the_conversation(
    portal: BlockingPortal, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ScriptedModel([CommandError("Full.")])
    talk(portal, model, "Hi", "Ho")
    assert [("user", "Ho")] == model.asked[1]
    assert "Full." in capsys.readouterr().err


def test_interrupted_answer_keeps_its_first_part(portal: BlockingPortal) -> None:
    class Endless(ScriptedModel):
        async def answer(self, messages: list[ChatMessage]) -> AsyncGenerator[Piece, None]:
            async for piece in super().answer(messages):
                yield piece
                if len(self.asked) == 1:
                    os.kill(os.getpid(), signal.SIGINT)
                    await anyio.sleep_forever()

    model = Endless([Piece("Once upon")])
    talk(portal, model, "Tell me a story", "Go on")
    assert [("user", "Tell me a story"), ("assistant", "Once upon"), ("user", "Go on")] == model.asked[1]
    assert 2 == model.closed


def test_ctrl_c_drops_a_line_and_ctrl_d_ends_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed: list[str | BaseException] = ["Hi", KeyboardInterrupt(), "Ho", EOFError()]

    def type_next(prompt: str) -> str:
        assert prompt == PROMPT
        item = typed.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", type_next)
    assert ["Hi", "Ho"] == list(read_lines())


def test_chat_over_a_pipe_uses_a_server(installed: Installed, live_server: LiveServer) -> None:
    done = installed.run("chat", "--url", live_server.url, stdin="Say hello.\n/exit\nnever\n")
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.strip()


def test_chat_over_a_pipe_starts_its_own_engine(installed: Installed) -> None:
    done = installed.run("chat", "--ctx-size", "512", "--system", "Be brief.", stdin="Say hello.\n")
    assert 0 == done.returncode, done.stderr
    assert done.stdout.strip()


def test_unknown_model_of_a_server_is_refused_with_the_known_ones(
    installed: Installed, live_server: LiveServer
) -> None:
    done = installed.run("chat", "--url", live_server.url, "--model", "gpt", stdin="Hi\n")
    assert (1, "") == (done.returncode, done.stdout)
    assert "smollm2-135m-instruct" in done.stderr
