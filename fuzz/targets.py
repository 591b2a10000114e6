"""What is fuzzed: one function for each, from bytes to nothing, that fails when an invariant does not hold.

Free of the fuzzer, so that the suite replays the corpus through the same functions (tests/fuzz/test_corpus.py).
"""

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, Final

import msgspec

from antiphon.assembly.tool_parser import CallText, Content, Piece, ToolParser
from antiphon.chat_formats.base import ToolNotation
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.errors import InvalidRequestError
from antiphon.protocol.requests import decode_request
from antiphon.protocol.sse import SSEDecoder
from antiphon.rendering.chat_template import ChatTemplate, ChatTemplateError

MAX_ERROR: Final = 2000
"""Characters of what an error says, whatever the request was."""
NOTATIONS: Final[tuple[ToolNotation, ...]] = tuple(
    each for _, notation in sorted(TOOL_NOTATIONS.items()) for each in (notation, *notation.alternatives)
)
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "count": {"type": "integer"}, "tags": {"type": "array"}},
}
TOOLS: Final[dict[str, dict[str, Any] | None]] = {"find": SCHEMA, "no-args": {}, "run": None}
USER: Final = [{"role": "user", "content": "Hi"}]


def request_decoder(data: bytes) -> None:
    """Any bytes are a request, which can be written again, or one short error of the reference's shape."""
    try:
        request = decode_request(data)
    except InvalidRequestError as error:
        text = json.dumps([error.message, error.param, error.code])
        assert len(text) < MAX_ERROR, f"{len(text)} >= {MAX_ERROR}"
        text.encode()
    else:
        msgspec.msgpack.encode(request)


def sse(data: bytes) -> None:
    """Any bytes are the same events in every cut."""
    whole = SSEDecoder().feed(data)
    for size in (1, 2, 3, 7):
        decoder = SSEDecoder()
        cut = [event for at in range(0, len(data), size) for event in decoder.feed(data[at : at + size])]
        assert whole == cut, f"{whole} != {cut} in pieces of {size}"


def tool_parser(data: bytes) -> None:
    """Any bytes are read alike in every cut, in every notation. The first byte chooses it, the second the cut."""
    notation = NOTATIONS[data[0] % len(NOTATIONS)] if data else NOTATIONS[0]
    size = 1 + data[1] % 8 if len(data) > 1 else 1
    whole, cut = _parsed(notation, data[2:], len(data) or 1), _parsed(notation, data[2:], size)
    assert whole == cut, f"{whole} != {cut} in pieces of {size}"


def chat_template(data: bytes) -> None:
    """Any text is a template that renders, or refuses, in bounded time, or it is no template."""
    source = data.decode("utf-8", "replace")
    try:
        template = ChatTemplate(source, "<s>", "</s>", clock=lambda: 0.0)
        template.render(USER, max_output=1 << 20)
    except (ChatTemplateError, InvalidRequestError):
        return


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "request_decoder": request_decoder,
    "sse": sse,
    "tool_parser": tool_parser,
    "chat_template": chat_template,
}


def _parsed(notation: ToolNotation, data: bytes, size: int) -> list[Piece]:
    parser = ToolParser(notation, TOOLS)
    pieces = [piece for at in range(0, len(data), size) for piece in parser.push(data[at : at + size])]
    return [*_joined([*pieces, *parser.end()])]


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Join neighbours of one kind: where text is cut is the parser's own business."""
    for key, group in groupby(pieces, _kind):
        items = [*group]
        if key == (Content,):
            yield from _contents([item for item in items if isinstance(item, Content)])
        elif key[0] is CallText:
            yield CallText(key[1], "".join(item.text for item in items if isinstance(item, CallText)))
        else:
            yield from items


def _kind(piece: Piece) -> tuple[Any, ...]:
    return (CallText, piece.index) if isinstance(piece, CallText) else (type(piece),)


def _contents(pieces: list[Content]) -> Iterator[Content]:
    """Join what stands side by side in the answer; between others something was dropped."""
    current = pieces[0]
    for piece in pieces[1:]:
        if current.start + len(current.data) == piece.start:
            current = Content(current.start, current.data + piece.data)
        else:
            yield current
            current = piece
    yield current
