"""Compiles a schema to the text that llguidance reads, and checks a whole grammar."""

import json
from functools import lru_cache
from typing import Any, Final

import llguidance
from msgspec import Struct

from antiphon.constraints.grammar_size import MAX_MULTIPLES, sum_of_multiples
from antiphon.constraints.json_schema.codegen import CodeGenerator
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.strict import check_strict
from antiphon.constraints.json_schema.terms import Path, compact_json
from antiphon.engine.grammars.grammar_limits import MAX_GRAMMAR_TEXT, limits
from antiphon.errors import InvalidRequestError

MAX_SCHEMA_SIZE: Final = 2 * 1024 * 1024
"""Characters of a schema's text."""
MAX_GRAMMAR_LINES: Final = 1500
"""Lines of a grammar. llguidance recurses from rule to rule; at about 4000 its stack overflows and the process ends."""
MAX_CACHED_SIZE: Final = 256 * 1024
"""Characters of a text whose result is cached."""
CACHED_RESULTS: Final = 64
MAX_ECHO: Final = 200
"""Characters of a path or of llguidance's message that an error message repeats."""


def compile_schema(
    schema: dict[str, Any] | bool,  # noqa: FBT001 (a schema may be true or false)
    *,
    strict: bool,
    param: str,
    subject: str = "response_format",
    code: str | None = None,
    each_key_once: bool = False,
) -> str:
    """Check ``schema`` and return the JSON Schema text with which llguidance enforces it exactly.

    The text follows ``%json`` in a Lark grammar; ``start: %json <text>`` is a whole grammar. Every text that this
    grammar admits validates by the specification. Every valid instance can be written, with the properties in the
    schema's order, the separators ``", "`` and ``": "`` and no other whitespace. An exception: an object with
    ``properties`` and without ``additionalProperties`` gets no other properties.

    A key that matches a pattern may occur twice in an object, unless ``each_key_once`` refuses such a pattern.
    ``strict`` requires the reference's subset of JSON Schema, too. ``subject`` names the owner of the schema in the
    message (``response_format 'math'``, ``function 'get_weather'``). ``param`` and ``code`` are those of the error; the
    reference has ``response_format`` and no code, or ``tools[0].function.parameters`` and
    ``invalid_function_parameters``.

    Raises :class:`InvalidRequestError` that names the keyword and its path. A large schema may take a second: call this
    in a thread. Results are cached by the schema's text.
    """
    return _compiled(schema, Mode(subset=strict, each_key_once=each_key_once), param, subject, code).text


class EnforcedSchema(Struct, frozen=True):
    """A compiled schema, and the paths of the keywords that it leaves out because they cannot be enforced."""

    text: str
    unenforced: tuple[Path, ...]


def enforce_schema(
    schema: dict[str, Any] | bool,  # noqa: FBT001 (a schema may be true or false)
    *,
    param: str,
    subject: str = "response_format",
    code: str | None = None,
) -> EnforcedSchema:
    """Compile a schema as :func:`compile_schema` does, but leave out keywords that cannot be enforced.

    Raises :class:`InvalidRequestError` for a malformed schema, for one without a value and beyond the limits.
    """
    return _compiled(schema, Mode(lenient=True, each_key_once=True), param, subject, code)


def _compiled(
    schema: dict[str, Any] | bool,  # noqa: FBT001 (a schema may be true or false)
    mode: "Mode",
    param: str,
    subject: str,
    code: str | None,
) -> EnforcedSchema:
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        raise _invalid(subject, "a lone surrogate is not a character", (), param, code) from None
    except ValueError:
        raise _invalid(subject, "a number is out of range", (), param, code) from None
    except RecursionError:
        raise _invalid(subject, "the schema nests too deeply", (), param, code) from None
    compile_text = _cached_compile if len(text) <= MAX_CACHED_SIZE else _compile
    compiled = compile_text(text, mode)
    if isinstance(compiled, _Refusal):
        raise _invalid(subject, compiled.reason, compiled.path, param, code)
    return compiled


def validate_grammar(grammar: str, *, param: str) -> None:
    """Compile a whole grammar, Lark or llguidance's JSON, within the limits of decoding.

    Raises :class:`InvalidRequestError`. It releases the GIL and may take seconds: call it in a thread. Results are
    cached.
    """
    problem = (_cached_problem if len(grammar) <= MAX_CACHED_SIZE else _problem)(grammar)
    if problem:
        raise InvalidRequestError(f"Invalid value for '{param}': {problem}", param=param, code="invalid_value")


class Mode(Struct, frozen=True, kw_only=True):
    """The treatment of a schema."""

    subset: bool = False
    """Refuse what is outside of the reference's subset."""
    lenient: bool = False
    """Leave out what cannot be enforced, instead of refusing it."""
    each_key_once: bool = False
    """Take for not enforceable what lets a key occur twice in an object."""


class _Refusal(Struct, frozen=True):
    reason: str
    path: Path = ()


def _compile(text: str, mode: Mode) -> EnforcedSchema | _Refusal:
    if len(text) > MAX_SCHEMA_SIZE:
        return _Refusal(f"the schema exceeds the limit of {MAX_SCHEMA_SIZE} characters")
    schema = json.loads(text)
    try:
        document = Document(schema, lenient=mode.lenient)
        if mode.subset:
            check_strict(document)
        generator = CodeGenerator(Expander(document), each_key_once=mode.each_key_once)
        compiled = compact_json(generator.generate(document.term(())))
    except SchemaRefusedError as error:
        return _Refusal(error.reason, error.path or ())
    except RecursionError:
        return _Refusal("the schema nests too deeply")
    problem = _problem(f"start: %json {compiled}")
    if problem:
        return _Refusal(f"it cannot be enforced: {problem}")
    return EnforcedSchema(compiled, document.unenforced.paths)


_cached_compile = lru_cache(CACHED_RESULTS)(_compile)


def _problem(grammar: str) -> str:
    """Return the reason why a grammar cannot be used, or an empty text."""
    if len(grammar) > MAX_GRAMMAR_TEXT:
        return f"the grammar exceeds the limit of {MAX_GRAMMAR_TEXT} characters."
    multiples = sum_of_multiples(grammar)
    if multiples > MAX_MULTIPLES:
        return f"all 'multipleOf' together, {multiples}, exceed the limit of {MAX_MULTIPLES}."
    if grammar.count("\n") >= MAX_GRAMMAR_LINES:
        return f"the grammar exceeds the limit of {MAX_GRAMMAR_LINES} lines."
    failed, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar, None, limits=limits())
    return shorten_problem(messages[0]) if failed else ""


_cached_problem = lru_cache(CACHED_RESULTS)(_problem)


def shorten_problem(text: str) -> str:
    """Return llguidance's message as one line of at most :data:`MAX_ECHO` characters."""
    line = " ".join(text.partition("<state>")[0].split())
    return line if len(line) <= MAX_ECHO else f"{line[: MAX_ECHO - 3]}..."


def _invalid(subject: str, reason: str, path: Path, param: str, code: str | None) -> InvalidRequestError:
    message = f"Invalid schema for {subject}: In context={shorten_problem(repr(path))}, {reason.rstrip('.')}."
    return InvalidRequestError(message, param=param, code=code)
