"""The fuzzed functions: each takes bytes and raises an error when an invariant is broken.

They do not import the fuzzer, so that tests/fuzz/test_corpus.py can replay the corpus.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from antiphon.assembly.call_pieces import CallText
from antiphon.assembly.tool_parser import Content, Piece, ToolParser
from antiphon.chat_formats.builtin import recognise
from antiphon.chat_formats.chat_format import ToolNotation
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.constraints.json_schema import compile_schema
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.errors import InvalidRequestError
from antiphon.media.audio import MAX_SECONDS, decode_audio
from antiphon.media.image_size import Detail
from antiphon.media.images import CHANNELS, decode_image
from antiphon.media.media_error import MediaError
from antiphon.protocol.requests import decode_request
from antiphon.protocol.sse import SSEDecoder
from antiphon.rendering.renderer import Renderer
from antiphon.templates.chat_template import ChatTemplate
from fuzz.schemas import schema_of
from fuzz.work import CALLS_OF_CHARACTER, CALLS_OF_WORK, FREE_CALLS, counted_work
from tests.vocabularies import CONTROL, MARKERS, MODELS, PLAIN, PRE_TOKENIZERS, write_vocabulary

MAX_ERROR: Final = 2000
"""Maximum characters of an error, for all requests."""
WORK: Final = 4000
"""Budget of a schema in alternatives, smaller than the server's, so that the fuzzer runs more inputs."""
NOTATIONS: Final[tuple[ToolNotation, ...]] = tuple(
    each for _, notation in sorted(TOOL_NOTATIONS.items()) for each in (notation, *notation.alternatives)
)
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "count": {"type": "integer"}, "tags": {"type": "array"}},
}
TOOLS: Final[dict[str, dict[str, Any] | None]] = {"find": SCHEMA, "no-args": {}, "run": None}
KINDS: Final = (*((model, "default") for model in MODELS), *(("gpt2", pre) for pre in PRE_TOKENIZERS))
"""The kinds of vocabularies: model and pre-tokenizer."""
TALK: Final = (
    "<s>{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}<think>{{ m.reasoning_content or '' }}</think>"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.name }}<|message|>{{ call.function.arguments }}"
    "</tool_call>{% endfor %}<|im_end|>{% endfor %}"
)
SPECIAL: Final = (*CONTROL, *MARKERS, *PLAIN, "\u2581", "\uff5c", "\u00e9")
DETAILS: Final[tuple[Detail, ...]] = ("auto", "low", "original")
SAMPLE_RATE: Final = 1000
"""Samples of a second of fuzzed sounds, few, so that the fuzzer runs more inputs."""
WRITABLE: Final = ("llama", "gpt2", "gemma4")
"""Models whose tokens can spell every text."""


def request_decoder(data: bytes) -> None:
    """Check that any bytes are a request that can be encoded, or one short error of the reference's shape."""
    try:
        request = decode_request(data)
    except InvalidRequestError as error:
        text = json.dumps([error.message, error.param, error.code])
        assert len(text) < MAX_ERROR, f"{len(text)} >= {MAX_ERROR}"
        text.encode()
    else:
        msgspec.msgpack.encode(request)


def sse(data: bytes) -> None:
    """Check that any bytes give the same events in every chunking."""
    whole = SSEDecoder().feed(data)
    for size in (1, 2, 3, 7):
        decoder = SSEDecoder()
        cut = [event for at in range(0, len(data), size) for event in decoder.feed(data[at : at + size])]
        assert whole == cut, f"{whole} != {cut} in pieces of {size}"


def tool_parser(data: bytes) -> None:
    """Check that any bytes are parsed alike in every chunking.

    The first byte chooses the notation, the second the size of the chunks.
    """
    notation = NOTATIONS[data[0] % len(NOTATIONS)] if data else NOTATIONS[0]
    size = 1 + data[1] % 8 if len(data) > 1 else 1
    whole, cut = _parsed(notation, data[2:], len(data) or 1), _parsed(notation, data[2:], size)
    assert whole == cut, f"{whole} != {cut} in pieces of {size}"


def user_text(data: bytes) -> None:
    """Check that any text gives no structural token and is spelled completely.

    The first byte chooses the kind of vocabulary. A byte beyond ASCII is the text of a structural or ordinary token.
    """
    kind = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    text = "".join(chr(byte) if byte < 0x80 else SPECIAL[byte % len(SPECIAL)] for byte in data[1:])  # noqa: PLR2004
    if not text.strip():
        return
    tokenizer, renderer = _rendering(*kind)
    marked, harmless = (_marked(tokenizer, renderer, said) for said in (text, "~"))
    assert harmless[0] == marked[0], f"{harmless[0]} != {marked[0]} with {kind}"
    if kind[0] in WRITABLE:
        assert _solid(text) in marked[1], f"{text!r} is not in {marked[1]!r}"


def json_schema(data: bytes) -> None:
    """Check that any schema is compiled or refused, and that its work was charged to its budget."""
    schema = schema_of(data)
    with counted_work(WORK) as work, suppress(InvalidRequestError):
        compile_schema(schema, strict=False, param="schema")
    size = len(json.dumps(schema))
    assert work.calls <= FREE_CALLS + CALLS_OF_CHARACTER * size + CALLS_OF_WORK * work.spent, f"{work} for {size}"


def image(data: bytes) -> None:
    """Check that any bytes are an image, whose pixels are whole, or are refused.

    The first byte chooses the detail.
    """
    detail = DETAILS[data[0] % len(DETAILS)] if data else DETAILS[0]
    with suppress(MediaError):
        shown = decode_image(data[1:], detail)
        size = CHANNELS * shown.width * shown.height
        assert size == len(shown.rgb), f"{shown.width}x{shown.height} in {len(shown.rgb)} bytes"


def audio(data: bytes) -> None:
    """Check that any bytes are a sound of some length, or are refused.

    The first byte chooses the format.
    """
    with suppress(MediaError):
        sound = decode_audio(data[1:], "mp3" if data[:1] == b"\x01" else "wav", SAMPLE_RATE)
        count = len(sound.samples) // 4
        assert 0 < count <= MAX_SECONDS * SAMPLE_RATE, f"{count} samples"


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "request_decoder": request_decoder,
    "sse": sse,
    "tool_parser": tool_parser,
    "user_text": user_text,
    "json_schema": json_schema,
    "image": image,
    "audio": audio,
}


@cache
def _rendering(model: str, pre: str) -> tuple[Tokenizer, Renderer]:
    with TemporaryDirectory() as folder:
        tokenizer = Tokenizer.open(str(write_vocabulary(Path(folder) / "model.gguf", model, pre)))
    return tokenizer, Renderer(tokenizer, ChatTemplate(TALK, "<s>", "</s>"), recognise(TALK), 1 << 20)


def _marked(tokenizer: Tokenizer, renderer: Renderer, text: str) -> tuple[list[str], str]:
    """Return the structural tokens and the characters without spaces of a prompt with ``text`` as every text."""
    call = {"id": "1", "type": "function", "function": {"name": text[:256], "arguments": text}}
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": text, "reasoning_content": text, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": text},
    ]
    request = decode_request(json.dumps({"model": "m", "messages": messages}).encode())
    ids = renderer.render(request, "fuzz", "").generate.prompt_ids
    structure = {*CONTROL, *MARKERS}
    written = [*map(tokenizer.token_text, ids)]
    spelled = b"".join(map(tokenizer.token_bytes, ids)).decode(errors="replace")
    return [token for token in written if token in structure], _solid(spelled)


def _solid(text: str) -> str:
    """Return the text without spaces: SentencePiece adds spaces and writes them as another character."""
    return text.replace(" ", "").replace("\u2581", "")


def _parsed(notation: ToolNotation, data: bytes, size: int) -> list[Piece]:
    parser = ToolParser(notation, TOOLS)
    pieces = [piece for at in range(0, len(data), size) for piece in parser.push(data[at : at + size])]
    return [*_joined([*pieces, *parser.end()])]


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Join adjacent pieces of one kind: the parser may cut text anywhere."""
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
    """Join pieces that are adjacent in the answer; the parser dropped text between others."""
    current = pieces[0]
    for piece in pieces[1:]:
        if current.start + len(current.data) == piece.start:
            current = Content(current.start, current.data + piece.data)
        else:
            yield current
            current = piece
    yield current
