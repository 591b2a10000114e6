"""The pieces, calls and content that the parser of tool calls finds in a text, for its tests and its parts' tests."""

from typing import Any

from antiphon.assembly.call_pieces import CallStart, CallText
from antiphon.assembly.tool_parser import Content, Piece, ToolParser
from antiphon.chat_formats.chat_format import ToolNotation

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "count": {"type": "integer"},
        "ok": {"type": ["boolean", "null"]},
        "where": {"type": "object"},
        "tags": {"type": "array"},
    },
}
TOOLS: dict[str, dict[str, Any] | None] = {"find": SCHEMA, "no-args": {}, "run": None}


def joined(pieces: list[Piece]) -> list[Piece]:
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if isinstance(piece, Content) and isinstance(last, Content) and last.start + len(last.data) == piece.start:
            found[-1] = Content(last.start, last.data + piece.data)
        elif isinstance(piece, CallText) and isinstance(last, CallText):
            found[-1] = CallText(piece.index, last.text + piece.text)
        else:
            found.append(piece)
    return found


def parse(notation: ToolNotation, text: str | bytes, size: int = 1 << 20, **options: Any) -> list[Piece]:  # noqa: ANN401
    parser = ToolParser(notation, options.pop("tools", TOOLS), **options)
    data = text.encode() if isinstance(text, str) else text
    pieces = [piece for at in range(0, len(data), size) for piece in parser.push(data[at : at + size])]
    return joined([*pieces, *parser.end()])


def calls(pieces: list[Piece]) -> list[tuple[str, str]]:
    names = [piece.name for piece in pieces if isinstance(piece, CallStart)]
    found = dict.fromkeys(range(len(names)), "")
    for piece in pieces:
        if isinstance(piece, CallText):
            found[piece.index] += piece.text
    return list(zip(names, found.values(), strict=True))


def content(pieces: list[Piece]) -> str:
    return b"".join(piece.data for piece in pieces if isinstance(piece, Content)).decode("utf-8", "replace")
