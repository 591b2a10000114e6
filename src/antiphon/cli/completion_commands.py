"""``antiphon completions``: lists, shows and exports stored completions."""

import os
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
from cyclopts import App, Parameter

from antiphon.cli.numeric_options import count
from antiphon.cli.open_database import with_storage
from antiphon.cli.options import StorageFlags
from antiphon.cli.project_commands import find_project
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.errors import NotFoundError
from antiphon.protocol.stored import StoredAnswer, StoredCompletion, StoredMessage
from antiphon.protocol.stored_queries import MAX_LIMIT, CompletionQuery, PageQuery
from antiphon.service.storage import Storage
from antiphon.store.completions import CompletionStore
from antiphon.store.schema import DEFAULT_PROJECT

TRAINABLE = frozenset({"stop", "tool_calls", "function_call"})
"""The finish reasons of examples: an answer that was cut short would train a model to cut answers short."""
_PREVIEW = 60
"""Characters of an answer in the list."""

Metadata = Annotated[tuple[str, ...], Parameter(negative_iterable="", show_default=False)]

completions = App(name="completions", help="List, show and export stored completions.")


@completions.command(name="list")
def list_completions(
    *,
    project: str = DEFAULT_PROJECT,
    answered_by: str | None = None,
    metadata: Metadata = (),
    limit: Annotated[int, count(1)] = 20,
    storage: StorageFlags | None = None,
) -> None:
    """List stored completions, the newest first.

    Parameters
    ----------
    project
        The id or name of the project.
    answered_by
        Only completions by this model.
    metadata
        Only completions with this pair, key=value; repeatable.
    limit
        Maximum number of completions.
    """
    query = CompletionQuery(model=answered_by, metadata=_pairs(metadata), order="desc", limit=min(limit, MAX_LIMIT))

    async def work(opened: Storage) -> list[StoredCompletion]:
        owner = (await find_project(opened, project)).id
        found: list[StoredCompletion] = []
        async with aclosing(_pages(opened.completions, owner, query)) as pages:
            async for page in pages:
                found += page
                if len(found) >= limit:
                    break
        return found[:limit]

    rows = [
        (row.id, display.moment(row.created), row.model, _ending(row), _preview(row))
        for row in with_storage(storage, work)
    ]
    display.print_table(("id", "created", "model", "ended", "answer"), rows)


@completions.command
def show(completion_id: str, *, project: str = DEFAULT_PROJECT, storage: StorageFlags | None = None) -> None:
    """Print a stored completion and its messages as JSON.

    Parameters
    ----------
    completion_id
        As ``antiphon completions list`` shows it.
    project
        The id or name of the project.
    """

    async def work(opened: Storage) -> dict[str, Any]:
        owner = (await find_project(opened, project)).id
        completion = await opened.completions.get(owner, completion_id)
        return {"completion": completion, "messages": await _messages(opened.completions, owner, completion_id)}

    shown = with_storage(storage, work)
    display.print_line(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())


@completions.command
def export(
    *,
    output: Path | None = None,
    project: str = DEFAULT_PROJECT,
    answered_by: str | None = None,
    metadata: Metadata = (),
    unfinished: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    storage: StorageFlags | None = None,
) -> None:
    """Write stored completions as JSON Lines for fine-tuning, an example for every choice, the oldest first.

    Parameters
    ----------
    output
        The file to write. Default: stdout.
    project
        The id or name of the project.
    answered_by
        Only completions by this model.
    metadata
        Only completions with this pair, key=value; repeatable.
    unfinished
        Include answers that were cut short by a length limit or a disconnect.
    """
    query = CompletionQuery(model=answered_by, metadata=_pairs(metadata), limit=MAX_LIMIT)

    async def work(opened: Storage) -> int:
        owner = (await find_project(opened, project)).id
        total = await opened.completions.count(owner, query)
        with _opened(output) as file:
            return await _export(opened.completions, owner, query, file, total, unfinished=unfinished)

    display.say(f"{with_storage(storage, work)} examples written.")


async def _export(
    store: CompletionStore, owner: str, query: CompletionQuery, file: BinaryIO, total: int, *, unfinished: bool
) -> int:
    written = 0
    with display.bar("Exporting", total) as advance:
        async with aclosing(_pages(store, owner, query)) as pages:
            async for page in pages:
                for completion in page:
                    try:
                        messages = await _messages(store, owner, completion.id)
                    except NotFoundError:  # deleted since the page was read
                        continue
                    for example in examples(completion, messages, unfinished=unfinished):
                        file.write(msgspec.json.encode(example) + b"\n")
                        written += 1
                    advance()
    return written


def examples(
    completion: StoredCompletion, messages: list[StoredMessage], *, unfinished: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield an example for every choice that has an answer: conversation, answer and tools.

    Source: the reference's fine-tuning format.
    """
    conversation = [_training_message(message) for message in messages]
    tools = {"tools": completion.tools} if completion.tools else {}
    for choice in completion.choices:
        answer = _training_answer(choice.message)
        if (unfinished or choice.finish_reason in TRAINABLE) and answer.keys() - {"role"}:
            yield {"messages": [*conversation, answer], **tools}


def _training_message(message: StoredMessage) -> dict[str, Any]:
    content = message.content if message.content_parts is None else message.content_parts
    fields = {"role": message.role, "content": content, "name": message.name}
    for name in ("refusal", "tool_calls", "function_call", "tool_call_id"):
        fields[name] = getattr(message, name) or None
    return {name: value for name, value in fields.items() if value is not None}


def _training_answer(answer: StoredAnswer) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": answer.refusal}
    fields |= {"tool_calls": answer.tool_calls, "function_call": answer.function_call}
    return {name: value for name, value in fields.items() if value}


async def _pages(
    store: CompletionStore, owner: str, query: CompletionQuery
) -> AsyncGenerator[list[StoredCompletion], None]:
    more = True
    while more:
        page = await store.list(owner, query)
        yield page.data
        query = msgspec.structs.replace(query, after=page.last_id)
        more = page.has_more


async def _messages(store: CompletionStore, owner: str, completion_id: str) -> list[StoredMessage]:
    found: list[StoredMessage] = []
    after, more = None, True
    while more:
        page = await store.messages(owner, completion_id, PageQuery(after=after, limit=MAX_LIMIT))
        found += page.data
        after, more = page.last_id, page.has_more
    return found


def _pairs(texts: tuple[str, ...]) -> dict[str, str] | None:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"{text} is not a pair.", "Write --metadata key=value.")
        pairs[key] = value
    return pairs or None


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """Open the file, or stdout. Raises :class:`CommandError` when a write fails."""
    try:
        if path is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        else:
            with path.expanduser().open("wb") as file:
                yield file
    except BrokenPipeError as error:
        # The rest of the buffer would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError("stdout was closed before the end.") from error
    except OSError as error:
        raise CommandError(f"{path or 'stdout'} cannot be written: {error.strerror}.") from error


def _ending(completion: StoredCompletion) -> str:
    return ", ".join(sorted({choice.finish_reason or "broke off" for choice in completion.choices}))


def _preview(completion: StoredCompletion) -> str:
    answer = completion.choices[0].message if completion.choices else StoredAnswer(content=None)
    calls = ", ".join(
        call.function.name if hasattr(call, "function") else call.custom.name for call in answer.tool_calls or []
    )
    text = " ".join((answer.content or answer.refusal or calls).split())
    return text if len(text) <= _PREVIEW else f"{text[: _PREVIEW - 1]}…"
