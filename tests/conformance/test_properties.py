"""What comes out of the real engine at temperature 1.5 keeps to what was asked for: random schemas, random grammars.

Requests go out several at once, as one example. ``ANTIPHON_TEST_EXAMPLES`` is the number of them for each property.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from antiphon.chat_formats.chat_format import CUSTOM_CALL, HERMES
from antiphon.engine.models.tokenizer import Tokenizer
from tests.conformance.conftest import MODEL, WAIT
from tests.conftest import LiveServer
from tests.constraints.json_schema.random_schemas import is_valid

AT_ONCE: Final = 6
EXAMPLES: Final = int(os.environ.get("ANTIPHON_TEST_EXAMPLES", "12"))
MAX_TOKENS: Final = 56
UNENFORCED: Final = "x-antiphon-unenforced"
LIKING: Final = 14
"""Of the tokens that a call begins with, where the model may choose: by itself this small model never calls."""
CHOICES: Final = ("auto", "required", "named") * 2
"""Of the requests of one example."""
SYNTAXES: Final = ("regex",) * 3 + ("lark",) * 3

bounded = settings(
    max_examples=max(1, EXAMPLES // AT_ONCE),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

JSONSchema = dict[str, Any]

NAMES = st.sampled_from(("a", "id", "colour", "größe", "first name", '"'))
WORDS = st.sampled_from(("", "red", "blue sky", "é", "\n", '"quoted"', "😀", "null"))
PATTERNS = ("^[a-z]{1,5}$", "^(ab|c){1,3}$", "^[0-9]{3}-[0-9]{2}$", "^[A-Z][a-z]{0,4}( [A-Z])?$", "^\\w{2}$")
FORMATS = ("date", "time", "ipv4", "uuid", "date-time")


def numbers(kind: str) -> st.SearchStrategy[JSONSchema]:
    limits = st.tuples(st.integers(-50, 50), st.integers(0, 60))
    step = st.sampled_from(
        ({}, {"multipleOf": 5}, {"multipleOf": 0.25}) if kind == "number" else ({}, {"multipleOf": 3})
    )
    return st.builds(
        lambda pair, extra: {"type": kind, "minimum": pair[0], "maximum": pair[0] + 10 + pair[1], **extra}, limits, step
    )


STRINGS = st.one_of(
    st.builds(lambda size: {"type": "string", "maxLength": size}, st.integers(0, 6)),
    st.sampled_from(PATTERNS).map(lambda pattern: {"type": "string", "pattern": pattern}),
    st.sampled_from(FORMATS).map(lambda form: {"type": "string", "format": form}),
)
SCALARS = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    numbers("integer"),
    numbers("number"),
    STRINGS,
    st.lists(st.one_of(WORDS, st.integers(-9, 99), st.booleans()), min_size=1, max_size=3).map(lambda v: {"enum": v}),
    st.one_of(WORDS, st.none(), st.just([1, "a"])).map(lambda value: {"const": value}),
)


def arrays(items: st.SearchStrategy[JSONSchema]) -> st.SearchStrategy[JSONSchema]:
    return st.builds(
        lambda item, least, more: {"type": "array", "items": item, "minItems": least, "maxItems": least + more},
        items,
        st.integers(0, 2),
        st.integers(0, 2),
    )


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[JSONSchema] = SCALARS) -> JSONSchema:
    """Objects whose number of properties is bounded, so that answers end."""
    properties = draw(st.dictionaries(NAMES, values, min_size=1, max_size=3))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True))
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if draw(st.integers(0, 3)) == 0:
        schema["additionalProperties"] = draw(values)
        schema["propertyNames"] = {"maxLength": 10}
        schema["maxProperties"] = max(1, len(required)) + draw(st.integers(0, 1))
    return schema


def _combined(inner: st.SearchStrategy[JSONSchema]) -> st.SearchStrategy[JSONSchema]:
    either = st.lists(inner, min_size=2, max_size=3).map(lambda schemas: {"anyOf": schemas})
    shared = inner.map(lambda schema: {"$ref": "#/$defs/shared"} if "$ref" not in json.dumps(schema) else schema)
    return st.one_of(arrays(inner), objects(inner), either, shared)


VALUES = st.recursive(SCALARS, _combined, max_leaves=4)


@st.composite
def schemas(draw: st.DrawFn) -> JSONSchema:
    """Objects of bounded size, which may refer to a shared definition."""
    schema = draw(objects(VALUES))
    return {**schema, "$defs": {"shared": draw(SCALARS)}} if "$ref" in json.dumps(schema) else schema


class Expression(Struct, frozen=True):
    """A regular language, as a regular expression and as the expression of a Lark rule."""

    regex: str
    lark: str


LITERALS = st.text(alphabet="abcxyz_-= é", min_size=1, max_size=4).map(
    lambda text: Expression(re.escape(text), json.dumps(text, ensure_ascii=False))
)
CLASSES = st.sampled_from(("[a-c]", "[0-9]", "[^a-z\\n]", "[αβ]", "\\d")).map(
    lambda text: Expression(text, f"/{text}/")
)


def _expressions(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    some = st.lists(inner, min_size=2, max_size=3)
    counts = st.tuples(st.integers(0, 2), st.integers(1, 2))
    return st.one_of(
        some.map(lambda e: Expression("".join(f"(?:{x.regex})" for x in e), " ".join(f"({x.lark})" for x in e))),
        some.map(lambda e: Expression("|".join(f"(?:{x.regex})" for x in e), " | ".join(f"({x.lark})" for x in e))),
        st.builds(
            lambda e, n: Expression(f"(?:{e.regex}){{{n[0]},{n[0] + n[1]}}}", f"({e.lark}){{{n[0]},{n[0] + n[1]}}}"),
            inner,
            counts,
        ),
    )


EXPRESSIONS = st.recursive(st.one_of(LITERALS, CLASSES), _expressions, max_leaves=5)
SEEDS = st.integers(0, 2**31 - 1)


def batches(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.tuples(strategy, SEEDS), min_size=AT_ONCE, max_size=AT_ONCE)


class Asker:
    """Sends requests at the same time and gives the choices that ended by themselves."""

    def __init__(self, url: str, biases: dict[str, dict[str, int]]) -> None:
        self._http = httpx2.Client(base_url=url, timeout=WAIT)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self.biases = biases

    def close(self) -> None:
        self._pool.shutdown()
        self._http.close()

    def ask(self, requests: Sequence[JSONSchema]) -> Iterator[tuple[int, JSONSchema]]:
        """Give (index of the request, message) of every answer that was neither refused nor cut short.

        Answers whose header names a keyword that is not enforced are left out: the server promises no validity there.
        """
        for index, response in enumerate(self._pool.map(self._post, requests)):
            if response.status_code != httpx2.codes.OK:
                assert (400, "invalid_request_error") == (response.status_code, response.json()["error"]["type"])
                event(f"refused: {response.json()['error']['message']}")
                continue
            if unenforced := response.headers.get(UNENFORCED):
                event(f"not wholly enforced: {unenforced}")
                continue
            for choice in response.json()["choices"]:
                event(f"finish_reason: {choice['finish_reason']}")
                if choice["finish_reason"] != "length":
                    yield index, choice["message"]

    def _post(self, fields: JSONSchema) -> httpx2.Response:
        body = {"model": MODEL, "temperature": 1.5, "max_completion_tokens": MAX_TOKENS, **fields}
        return self._http.post("/v1/chat/completions", json=body)


@pytest.fixture(scope="module")
def asker(server: LiveServer, smollm2_path: Path) -> Iterator[Asker]:
    """A client of the running server that knows the tokens of a call's beginning."""
    tokenizer = Tokenizer.open(str(smollm2_path))
    starts = {"function": HERMES.triggers[0], "custom": CUSTOM_CALL.start}
    biases = {kind: dict.fromkeys(map(str, tokenizer.encode(text)), LIKING) for kind, text in starts.items()}
    tokenizer.close()
    asker = Asker(server.url, biases)
    yield asker
    asker.close()


def request(text: str, seed: int, **fields: Any) -> JSONSchema:  # noqa: ANN401 (request fields)
    return {"messages": [{"role": "user", "content": text}], "seed": seed, **fields}


def tool_request(kind: str, definition: JSONSchema, choice: str, seed: int, asker: Asker) -> JSONSchema:
    """Ask for a call of the one tool; in ``auto`` the model is given a liking for it."""
    chosen = {"type": kind, kind: {"name": "act"}} if choice == "named" else choice
    tool = {"type": kind, kind: {"name": "act", **definition}}
    bias = {"logit_bias": asker.biases[kind]} if choice == "auto" else {}
    return request("Act.", seed, tools=[tool], tool_choice=chosen, **bias)


def grammar_format(syntax: str, expression: Expression) -> JSONSchema:
    definition = expression.regex if syntax == "regex" else f"start: {expression.lark}"
    return {"format": {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}}


def called(choice: str, message: JSONSchema) -> list[JSONSchema]:
    """The calls of an answer, of which there is one at least where it had to call."""
    calls: list[JSONSchema] = message.get("tool_calls") or []
    event(f"{choice}: {min(len(calls), 2)} calls")
    assert choice == "auto" or calls
    return calls


@bounded
@given(batch=batches(schemas()))
def test_every_finished_answer_validates(asker: Asker, batch: list[tuple[JSONSchema, int]]) -> None:
    requests = [
        request(
            "Give an example.", seed, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": s}}
        )
        for s, seed in batch
    ]
    for index, message in asker.ask(requests):
        assert is_valid(batch[index][0], message["content"]), (batch[index][0], message["content"])


@bounded
@given(batch=batches(schemas()))
def test_the_arguments_of_every_finished_answer_validate(asker: Asker, batch: list[tuple[JSONSchema, int]]) -> None:
    requests = [
        tool_request("function", {"parameters": schema}, choice, seed, asker)
        for choice, (schema, seed) in zip(CHOICES, batch, strict=True)
    ]
    for index, message in asker.ask(requests):
        for call in called(CHOICES[index], message):
            arguments = call["function"]["arguments"]
            assert is_valid(batch[index][0], arguments), (batch[index][0], arguments)


@bounded
@given(batch=batches(EXPRESSIONS))
def test_the_input_of_every_finished_custom_call_matches(asker: Asker, batch: list[tuple[Expression, int]]) -> None:
    requests = [
        tool_request("custom", grammar_format(syntax, expression), choice, seed, asker)
        for syntax, choice, (expression, seed) in zip(SYNTAXES, CHOICES, batch, strict=True)
    ]
    for index, message in asker.ask(requests):
        for call in called(CHOICES[index], message):
            written = call["custom"]["input"]
            assert re.fullmatch(batch[index][0].regex, written), (SYNTAXES[index], batch[index][0], written)
