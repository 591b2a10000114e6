"""Asks llguidance whether a pattern matches a text, or any text at all; its automata take linear time.

Python's ``re`` backtracks, so a client's pattern could run without end. Patterns here are in llguidance's syntax.
"""

import json
from functools import cache, lru_cache
from typing import Any, Final

import llguidance

from antiphon.constraints.json_schema.schema_errors import UnenforceableError
from antiphon.engine.grammars.grammar_limits import limits

_CACHED: Final = 1024
MAX_TEXTS: Final = 64
"""Texts of a pattern that are listed."""
MAX_TEXT: Final = 32
"""Bytes of one of these texts."""
MAX_STEPS: Final = 1000
"""Beginnings of texts that are looked at; a beginning takes 20 microseconds."""


def string_schema(patterns: tuple[str, ...], min_length: int = 0, max_length: int | None = None) -> dict[str, Any]:
    """Return llguidance's schema of the texts that match every pattern; lengths are in code points."""
    schema: dict[str, Any] = {"type": "string"}
    if patterns:
        schema["pattern"] = patterns[0]
    if min_length:
        schema["minLength"] = min_length
    if max_length is not None:
        schema["maxLength"] = max_length
    if patterns[1:]:
        schema["allOf"] = [{"type": "string", "pattern": pattern} for pattern in patterns[1:]]
    return schema


@lru_cache(_CACHED)
def is_empty(patterns: tuple[str, ...], min_length: int = 0, max_length: int | None = None) -> bool:
    """Return whether no text matches every pattern. Raises :class:`SchemaRefusedError` beyond llguidance's limits."""
    schema = json.dumps(string_schema(patterns, min_length, max_length))
    problem = llguidance.LLMatcher.validate_grammar(f"start: %json {schema}", None, limits=limits())
    if problem and "Unsatisfiable schema" not in problem:
        raise UnenforceableError("'pattern' is too complex to be enforced")
    return bool(problem)


@lru_cache(_CACHED)
def can_begin(patterns: tuple[str, ...], min_length: int, max_length: int | None) -> bool:
    """Return whether the engine can find the first characters of such a text within the work of one decode step."""
    grammar = f"start: %json {json.dumps(string_schema(patterns, min_length, max_length))}"
    matcher = llguidance.LLMatcher(byte_tokenizer(), grammar, log_level=0, limits=limits())
    if not matcher.is_error():
        matcher.consume_tokens(list(b'"'))
        matcher.compute_bitmask()
    return not matcher.is_error()


def matches(pattern: str, text: str) -> bool:
    """Return whether the pattern matches somewhere in ``text``. Raises :class:`SchemaRefusedError`."""
    matcher = _matcher(pattern).deep_copy()
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f").encode()
    return matcher.try_consume_tokens(list(quoted)) == len(quoted)


@lru_cache(_CACHED)
def _matcher(pattern: str) -> llguidance.LLMatcher:
    """Return a matcher that callers copy and never advance, so threads can share it."""
    grammar = f"start: %json {json.dumps(string_schema((pattern,)))}"
    matcher = llguidance.LLMatcher(byte_tokenizer(), grammar, log_level=0, limits=limits())
    if matcher.is_error() and "Unsatisfiable schema" not in matcher.get_error():
        raise UnenforceableError("'pattern' is too complex to be enforced")
    return matcher


@lru_cache(_CACHED)
def few_texts(pattern: str) -> tuple[str, ...] | None:
    """Return all texts that match, or None for more than :data:`MAX_TEXTS`, and for one that is long or has escapes."""
    start = _matcher(pattern).deep_copy()
    if start.is_error() or not start.consume_tokens(list(b'"')):
        return None
    found: list[str] = []
    waiting, steps = [(b"", start)], 0
    while waiting:
        text, matcher = waiting.pop()
        steps += 1
        allowed = _allowed_bytes(matcher)
        if ord('"') in allowed:
            found.append(text.decode())
        more = [byte for byte in allowed if byte != ord('"')]
        if len(found) > MAX_TEXTS or steps + len(more) > MAX_STEPS or len(text) >= MAX_TEXT or ord("\\") in more:
            return None
        for byte in more:
            longer = matcher.deep_copy()
            longer.consume_token(byte)
            waiting.append((text + bytes((byte,)), longer))
    return tuple(sorted(found))


def _allowed_bytes(matcher: llguidance.LLMatcher) -> list[int]:
    bits = matcher.compute_bitmask()
    return [byte for byte in range(256) if bits[byte >> 3] >> (byte & 7) & 1]


@cache
def byte_tokenizer() -> llguidance.LLTokenizer:
    """Return a tokenizer with a token for each byte."""
    return llguidance.LLTokenizer("byte")
