"""Random texts of a grammar over a vocabulary of bytes and special tokens, parsed as the assembly parses answers."""

import json
import re
from collections.abc import Sequence
from random import Random

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from msgspec import Struct

from antiphon.assembly.call_pieces import CallStart, CallText
from antiphon.assembly.tool_parser import Content, ToolParser, Tools
from antiphon.chat_formats.chat_format import ToolNotation
from antiphon.constraints.lark import Markers
from tests.rendering.byte_vocabulary import ByteVocabulary

MAX_TOKENS = 600
_MARKER = re.compile(r"<[|｜][^<>\s{}]+>|</?[a-z_:]+>|<[a-z_]+\|>|\[[A-Z_]+\]")  # noqa: RUF001
_STRUCTURE = frozenset(b'"{}[](),:=<>/\n|')


class _Bytes:
    """The tokenizer interface that llguidance needs."""

    bos_token_id = None

    def __init__(self, special: Sequence[str]) -> None:
        self.tokens = [bytes([byte]) for byte in range(256)] + [text.encode() for text in special] + [b"<end>"]
        self.special_token_ids = list(range(256, len(self.tokens)))
        self.eos_token_id = len(self.tokens) - 1

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


class Walker:
    """Writes random texts of a grammar, with a preference for structure."""

    def __init__(self, special: Sequence[str] = (), seed: int = 0) -> None:
        self.vocabulary = ByteVocabulary(special)
        self.markers = Markers(self.vocabulary)
        self._tokenizer = LLTokenizer(TokenizerWrapper(_Bytes(special)))
        self._end = 256 + len(special)
        self._random = Random(seed)  # noqa: S311 (a test's)

    def matcher(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        assert not matcher.is_error(), f"{matcher.get_error()}\n{grammar}"
        return matcher

    def encoded(self, text: str) -> list[int]:
        pieces = self.markers.split(text)
        return [i for piece in pieces for i in (piece.text.encode() if piece.token is None else [piece.token])]

    def admits(self, grammar: str, text: str) -> bool:
        """Return whether the grammar accepts ``text``, in which special tokens are written as their texts."""
        matcher, tokens = self.matcher(grammar), self.encoded(text)
        return matcher.try_consume_tokens(tokens) == len(tokens) and bool(matcher.is_accepting())

    def forced(self, grammar: str, text: str = "") -> str:
        """Return the bytes that the grammar forces after ``text``."""
        matcher = self.matcher(grammar)
        assert matcher.consume_tokens(self.encoded(text))
        return bytes(matcher.compute_ff_bytes()).decode()

    def longest_whitespace(self, grammar: str) -> int:
        """Return the longest run of whitespace in a text that has whitespace wherever the grammar admits it."""
        matcher = self.matcher(grammar)
        longest = run = 0
        for _ in range(MAX_TOKENS):
            mask = matcher.compute_bitmask()
            blank = next((byte for byte in b"\n\r\t " if mask[byte // 8] >> (byte % 8) & 1), None)
            token = self._next(matcher) if blank is None else blank
            if token == self._end:
                break
            run = run + 1 if blank is not None else 0
            longest = max(longest, run)
            assert matcher.consume_token(token)
        return longest

    def walk(self, grammar: str, *, begin: str = "", likes: Sequence[str] = ()) -> bytes | None:
        """Return a complete text that starts with ``begin``, None if it gets too long; ``likes`` are preferred."""
        matcher = self.matcher(grammar)
        walked = self.encoded(begin)
        assert matcher.consume_tokens(walked), begin
        liked = [self.encoded(text) for text in likes if text]
        while len(walked) < MAX_TOKENS:
            token = self._next(matcher)
            if token == self._end:
                return self.vocabulary.decode(walked).encode()
            run = self._random.choice(liked) if liked and self._random.random() < 0.1 else [token]
            taken = run if matcher.validate_tokens(run) == len(run) else [token]
            assert matcher.consume_tokens(taken), matcher.get_error()
            walked += taken
        return None

    def _next(self, matcher: LLMatcher) -> int:
        mask = matcher.compute_bitmask()
        assert not matcher.is_error(), matcher.get_error()
        allowed = [i for i in range(self._end + 1) if mask[i >> 3] >> (i & 7) & 1]
        if allowed in ([], [self._end]) or (self._end in allowed and self._random.random() < 0.15):
            return self._end
        allowed = [i for i in allowed if i != self._end]
        letters = [i for i in allowed if 97 <= i < 123]
        structure = [i for i in allowed if i in _STRUCTURE or i >= 256]
        return self._random.choice(self._random.choice([structure, letters, letters, allowed]) or allowed)


class ParsedAnswer(Struct):
    """A parsed answer: the content, and (name, arguments or input) of each call."""

    content: str
    calls: list[tuple[str, str]]


def read(notation: ToolNotation, tools: Tools, answer: bytes, *, opening: str = "") -> ParsedAnswer:
    """Parse an answer as the assembly does. Every call must be complete."""
    parser = ToolParser(notation, tools, opening=opening)
    content, names, texts = b"", list[str](), list[str]()
    for piece in parser.push(answer) + parser.end():
        match piece:
            case Content():
                content += piece.data
            case CallStart():
                names.append(piece.name)
                texts.append("")
            case CallText():
                texts[piece.index] += piece.text
    for name, text in zip(names, texts, strict=True):
        assert tools[name] is None or isinstance(json.loads(text), dict), f"the call of {name} is cut in {answer!r}"
    return ParsedAnswer(content.decode(), list(zip(names, texts, strict=True)))


def special_texts(notation: ToolNotation) -> list[str]:
    """Return the texts of a notation that vocabularies have as special tokens."""
    texts: list[str] = []
    for one in (notation, *notation.alternatives):
        texts += [one.section_start, one.section_end, one.call_start, one.call_end, one.name_end, one.quote]
        texts += [*one.content_marks, *one.triggers, one.call_id.text if one.call_id else ""]
        if one.parameters:
            tags = one.parameters
            texts += [tags.start, tags.name_end, tags.end, *tags.json_name_ends]
    return list(dict.fromkeys(marker for text in texts for marker in _MARKER.findall(text)))


def ends(notation: ToolNotation) -> list[str]:
    """Return texts that a walk writes now and then, so that strings and calls end."""
    tags = [notation.parameters.end] if notation.parameters else []
    return [notation.call_end, notation.section_end, notation.separator, notation.quote, *tags]
