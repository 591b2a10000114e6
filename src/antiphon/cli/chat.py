"""``antiphon chat``: a conversation in the terminal or over a pipe, one line for each turn."""

import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Annotated

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from cyclopts import Parameter

from antiphon.cli.chat_client import ChatMessage, LocalModel, Model, RemoteModel, open_client, served_models
from antiphon.cli.options import EngineFlags
from antiphon.cli.wiring import open_service
from antiphon.config import cache_dir
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.model_files.hub import Hub
from antiphon.model_files.model_sources import find_models
from antiphon.model_files.optimized_models import OptimizedModels
from antiphon.model_files.optimizing import served_files
from antiphon.telemetry.logs import configure_logging

HELP = (
    "/reset forgets the conversation, /system TEXT sets the system message, /exit ends; Ctrl-C stops an answer, "
    "Ctrl-D ends."
)
PROMPT = "> "


def chat(
    *,
    url: str | None = None,
    model: str | None = None,
    system: str | None = None,
    api_key: str | None = None,
    engine: Annotated[EngineFlags | None, Parameter(name="*")] = None,
) -> None:
    """Talk with a model on a server or in this process.

    Each line is one turn, sent with the whole conversation. It works over pipes: stdout has the answers only.

    Parameters
    ----------
    url
        A running server, such as http://127.0.0.1:8000. Without it the model runs in this process.
    model
        With --url: the name of a served model, by default the first. Without: as in serve --model.
    system
        The system message.
    api_key
        With --url: the server's API key. Put it in the variable: other users of the machine see command lines.
    """
    configure_logging("warning")
    opened = _remote(url, model, api_key) if url else _local(model, engine or EngineFlags())
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened) as answering:
        Session(portal, answering, system).run(read_lines())


class Session:
    """The turns of one conversation. The event loop runs in another thread, because this one waits for input."""

    def __init__(self, portal: BlockingPortal, model: Model, system: str | None) -> None:
        self._portal = portal
        self._model = model
        self._out = display.out()
        self._system = system
        self._turns: list[ChatMessage] = []

    def run(self, lines: Iterable[str]) -> None:
        """Answer each line until the lines end or one is ``/exit``."""
        if self._out.is_terminal:
            display.err().print(f"[bold]{self._model.name}[/]  [dim]{HELP}[/]", highlight=False)
        for line in lines:
            if line.startswith("/"):
                if not self._command(line):
                    return
            elif line.strip():
                self._turn(line)

    def _command(self, line: str) -> bool:
        """Run a slash command; return False to end the conversation."""
        command, _, rest = line.partition(" ")
        match command:
            case "/exit":
                return False
            case "/reset":
                self._turns = []
            case "/system":
                self._system = rest.strip() or None
            case _:
                display.err().print(HELP, markup=False, highlight=False)
        return True

    def _turn(self, line: str) -> None:
        """Send the line, show the answer as it arrives, and keep both; Ctrl-C keeps the first part of the answer."""
        self._turns.append(ChatMessage("user", line))
        said: list[str] = []
        scope = self._portal.call(anyio.CancelScope)
        with _on_ctrl_c(lambda: self._portal.start_task_soon(scope.cancel)):
            try:
                self._portal.call(self._show_answer, scope, said)
            except CommandError as error:
                display.print_error(error.message, error.advice)
        if said:
            self._out.print()
            self._turns.append(ChatMessage("assistant", "".join(said)))
        else:
            self._turns.pop()

    async def _show_answer(self, scope: anyio.CancelScope, said: list[str]) -> None:
        start = [ChatMessage("system", self._system)] if self._system else []
        with scope:
            async with aclosing(self._model.answer([*start, *self._turns])) as pieces:
                async for piece in pieces:
                    if piece.reasoning and self._out.is_terminal:
                        display.write_piece(self._out, piece.reasoning, "dim italic")
                    if piece.content:
                        said.append(piece.content)
                        display.write_piece(self._out, piece.content)


@contextmanager
def _on_ctrl_c(act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` at SIGINT instead of raising an exception, which could come between any two steps."""
    before = signal.signal(signal.SIGINT, lambda _signal, _frame: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def read_lines() -> Iterator[str]:
    """Yield the lines of stdin; a terminal has a prompt and line editing, and Ctrl-C drops the line."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    while True:
        try:
            yield input(PROMPT)
        except KeyboardInterrupt:
            display.err().print()
        except EOFError:
            display.err().print()
            return


@asynccontextmanager
async def _remote(url: str, name: str | None, api_key: str | None) -> AsyncGenerator[Model, None]:
    async with open_client(url, api_key) as client:
        names = await served_models(client)
        if not names or (name is not None and name not in names):
            raise CommandError(f"{url} does not serve {name or 'any model'}.", f"It serves: {_listed(names)}")
        yield RemoteModel(client, name or names[0])


@asynccontextmanager
async def _local(spec: str | None, flags: EngineFlags) -> AsyncGenerator[Model, None]:
    files = find_models([spec] if spec else [], Hub(cache_dir()))
    models = served_files(files, OptimizedModels(cache_dir()), named=spec is not None, optimized=None)
    async with open_service(models, flags) as service:
        yield LocalModel(service, models[0].name)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
