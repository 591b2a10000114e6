"""Questions about patterns that are put to llguidance itself, whose automata take linear time.

Python's ``re`` backtracks: a client's pattern could hold it for ever. Patterns here are in llguidance's syntax.
"""

import json
from functools import cache, lru_cache
from typing import Any, Final

import llguidance

from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.engine.grammars.grammar_limits import limits

_CACHED: Final = 1024


def string_schema(patterns: tuple[str, ...], min_length: int = 0, max_length: int | None = None) -> dict[str, Any]:
    """The JSON Schema, for llguidance, of texts that match every pattern and have so many code points."""
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
    """Whether no text matches every pattern. Raises :class:`SchemaRefusedError` when that is too hard to tell."""
    schema = json.dumps(string_schema(patterns, min_length, max_length))
    problem = llguidance.LLMatcher.validate_grammar(f"start: %json {schema}", None, limits=limits())
    if problem and "Unsatisfiable schema" not in problem:
        raise SchemaRefusedError("'pattern' is too complex to be enforced")
    return bool(problem)


@lru_cache(_CACHED)
def can_begin(patterns: tuple[str, ...], min_length: int, max_length: int | None) -> bool:
    """Whether the first characters of a text can be found with the work that a step may take."""
    grammar = f"start: %json {json.dumps(string_schema(patterns, min_length, max_length))}"
    matcher = llguidance.LLMatcher(_bytes(), grammar, log_level=0, limits=limits())
    if not matcher.is_error():
        matcher.consume_tokens(list(b'"'))
        matcher.compute_bitmask()
    return not matcher.is_error()


def matches(pattern: str, text: str) -> bool:
    """Whether the search finds something in ``text``. Raises :class:`SchemaRefusedError`."""
    matcher = _matcher(pattern).deep_copy()
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f").encode()
    return matcher.try_consume_tokens(list(quoted)) == len(quoted)


@lru_cache(_CACHED)
def _matcher(pattern: str) -> llguidance.LLMatcher:
    """A matcher that is only ever copied, so that threads can share it."""
    grammar = f"start: %json {json.dumps(string_schema((pattern,)))}"
    matcher = llguidance.LLMatcher(_bytes(), grammar, log_level=0, limits=limits())
    if matcher.is_error() and "Unsatisfiable schema" not in matcher.get_error():
        raise SchemaRefusedError("'pattern' is too complex to be enforced")
    return matcher


@cache
def _bytes() -> llguidance.LLTokenizer:
    """A vocabulary in which a token is a byte."""
    return llguidance.LLTokenizer("byte")
