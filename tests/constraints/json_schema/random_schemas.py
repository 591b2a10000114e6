"""Random schemas of all keywords, random instances, and random texts that a compiled schema admits."""

import itertools
import json
import random
import re
from collections.abc import Iterator
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import llguidance
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

NAMES = ("a", "b", "ab", "é", "")
TEXTS = ("", "a", "b", "ab", "aab", "é", "😀", "\na", "\x01", '"\\', "2024-02-29", "1.2.3.4")
NUMBERS = (0, 1, -1, 2, 3, 0.5, -0.5, 0.1, 1.5, 10, 100, 1.0, 2.25, -10, 99.99)
PATTERNS = (
    "a",
    "^a",
    "b$",
    "^ab?$",
    "^[ab]+$",
    "^(a|b)*c?$",
    "^.{2}$",
    "[^a]",
    "^\\w{1,3}$",
    "^$",
    "é|^b",
    "\\d",
    "^a|b$",
)
FORMATS = ("date", "date-time", "time", "email", "ipv4", "ipv6", "uuid", "unheard-of")
TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

counts = st.integers(0, 3)
names = st.sampled_from(NAMES)
scalars = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS))
instances = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=5,
)


def _keywords(inner: st.SearchStrategy[Any], draft: int) -> dict[str, st.SearchStrategy[Any]]:
    some = st.lists(inner, min_size=1, max_size=3)
    by_name = st.dictionaries(names, inner, min_size=1, max_size=3)
    some_names = st.lists(names, max_size=2, unique=True)
    lengths = dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), counts
    )
    limits = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    newer: dict[str, st.SearchStrategy[Any]] = {
        "prefixItems": some,
        "items": inner,
        "dependentRequired": st.dictionaries(names, some_names, max_size=2),
        "dependentSchemas": st.dictionaries(names, inner, max_size=2),
        "unevaluatedProperties": inner,
        "minContains": counts,
        "maxContains": counts,
    }
    older: dict[str, st.SearchStrategy[Any]] = {
        "items": st.one_of(inner, some),
        "additionalItems": inner,
        "dependencies": st.dictionaries(names, st.one_of(inner, some_names), max_size=2),
    }
    return {
        **lengths,
        **dict.fromkeys(limits, st.sampled_from(NUMBERS)),
        "multipleOf": st.sampled_from((1, 2, 3, 0.5, 0.1, 1.5, 10)),
        "pattern": st.sampled_from(PATTERNS),
        "format": st.sampled_from(FORMATS),
        "uniqueItems": st.booleans(),
        "contains": inner,
        "properties": by_name,
        "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), inner, min_size=1, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "required": some_names,
        "enum": st.lists(instances, min_size=1, max_size=4),
        "const": instances,
        "allOf": some,
        "anyOf": some,
        "oneOf": some,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "$ref": st.sampled_from(("#", "#/$defs/x", "#/$defs/y")),
        "default": scalars,
        "title": st.just("untitled"),
        "nullable": st.booleans(),
        **(newer if draft == 2020 else older),
    }


def _subschemas(inner: st.SearchStrategy[Any], draft: int) -> st.SearchStrategy[Any]:
    types = st.one_of(st.sampled_from(TYPES), st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True))
    keywords = _keywords(inner, draft)
    chosen = st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True)
    return st.builds(
        lambda kind, rest: {**({} if kind is None else {"type": kind}), **rest},
        st.one_of(st.none(), types, types),
        chosen.flatmap(lambda keys: st.fixed_dictionaries({key: keywords[key] for key in keys})),
    )


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    draft = draw(st.sampled_from((2020, 2020, 7)))
    leaves = st.one_of(st.booleans(), st.sampled_from(TYPES).map(lambda kind: {"type": kind}))
    nested = st.recursive(leaves, lambda inner: _subschemas(inner, draft), max_leaves=6)
    schema = dict(draw(_subschemas(nested, draft)))
    schema["$defs"] = {"x": draw(nested), "y": draw(nested)}
    if draft != 2020:
        schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    return schema


def opened(schema: Any) -> Any:
    """Return the schema with ``additionalProperties: true`` beside each ``properties`` that says nothing of others.

    This changes no instance's validity, unless a subschema has ``unevaluatedProperties``.
    """
    if isinstance(schema, list):
        return [opened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    members = {name: value if name in {"enum", "const", "default"} else opened(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        members["additionalProperties"] = True
    return members


def tracks_evaluation(schema: Any) -> bool:
    return "unevaluatedProperties" in json.dumps(schema)


def is_valid(schema: Any, text: str) -> bool:
    """Return whether ``text`` is valid, with exact decimals. Raises RecursionError for endless references."""
    with localcontext(prec=4000):
        exact = json.loads(json.dumps(schema), parse_float=Decimal)
        dialect = validator_for(exact, default=Draft202012Validator)
        validator = dialect(exact, format_checker=dialect.FORMAT_CHECKER)
        return bool(validator.is_valid(json.loads(text, parse_float=_number)))


def _number(text: str) -> Decimal | int:
    """Return the exact number; exponents beyond a thousand are cut, which no schema here distinguishes."""
    mantissa, _, exponent = text.lower().partition("e")
    power = max(-1000, min(1000, int(exponent[:9] or 0)))
    number = Decimal(mantissa).scaleb(power)
    return int(number) if number.adjusted() < 50 and number == number.to_integral_value() else number


@cache
def byte_tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer("byte")


def matcher(compiled: str) -> llguidance.LLMatcher:
    made = llguidance.LLMatcher(byte_tokenizer(), f"start: %json {compiled}", log_level=0)
    assert not made.is_error(), made.get_error()
    return made


def walk(compiled: str, choice: random.Random, limit: int = 300) -> str | None:
    """Return a random text that the grammar admits, or None if it has no end within ``limit`` bytes."""
    state, text, end = matcher(compiled), bytearray(), byte_tokenizer().eos_token
    while not state.is_stopped():
        bits = state.compute_bitmask()
        assert not state.is_error(), state.get_error()
        allowed = [token for token in range(end + 1) if bits[token // 8] >> (token % 8) & 1]
        assert allowed, f"nothing may follow {bytes(text)!r}"
        closing = [token for token in allowed if token in (0x22, 0x5D, 0x7D) or token == end]
        token = choice.choice(closing) if closing and choice.random() < len(text) / limit else choice.choice(allowed)
        if token == end:
            break
        if len(text) >= limit:
            return None
        assert state.consume_token(token)
        text.append(token)
    return text.decode()


def can_be_spelled(compiled: str, value: Any) -> bool:
    """Return False for control characters if the schema forbids escapes by code point (see ``codegen``)."""
    controls = re.search("\\\\u00|\x7f", json.dumps(value, ensure_ascii=False))
    return controls is None or "json_allowed_escapes" not in compiled


def spellings(value: Any) -> Iterator[str]:
    """Yield the JSON texts of a value, with properties in every order."""
    if isinstance(value, dict):
        for order in itertools.permutations(value):
            keys = [json.dumps(key, ensure_ascii=False) for key in order]
            for members in itertools.product(*(spellings(value[key]) for key in order)):
                yield "{" + ", ".join(f"{key}: {member}" for key, member in zip(keys, members, strict=True)) + "}"
    elif isinstance(value, list):
        for items in itertools.product(*map(spellings, value)):
            yield f"[{', '.join(items)}]"
    elif isinstance(value, float) and value.is_integer():
        yield str(int(value))
    else:
        yield json.dumps(value, ensure_ascii=False)


def admits_text(compiled: str, text: str) -> bool:
    return _takes(matcher(compiled), text)


def _takes(state: llguidance.LLMatcher, text: str) -> bool:
    tokens = list(text.encode())
    return state.try_consume_tokens(tokens) == len(tokens) and state.is_accepting()


def admits(compiled: str, value: Any) -> bool:
    """Return whether the grammar admits the value, with its properties in some order."""
    return admitted(compiled, [value]) == [value]


def admitted(compiled: str, values: list[Any]) -> list[Any]:
    """Return the values that the grammar admits."""
    start = matcher(compiled)
    return [
        value
        for value in values
        if any(_takes(start.deep_copy(), text) for text in itertools.islice(spellings(value), 2000))
    ]
