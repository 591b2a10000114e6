"""Hostile schemas and grammars are refused with 400, and a stream that runs meanwhile goes on.

That it goes on is shown by order and not by a clock: its chunks come between a hostile request and its answer.
"""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from antiphon.engine.models.tokenizer import Tokenizer
from tests.conformance.conftest import MODEL, WAIT
from tests.conftest import LiveServer

TOKENS: Final = 400
"""Of the stream that runs beside."""
MANY: Final = 3
"""Chunks: more than lie in a buffer that is read all the time."""
USAGE: Final = {"include_usage": True}
SCHEMA = "response_format.json_schema.schema"
DEFINITION = "tools[0].custom.format.grammar.definition"


def schema_request(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "hostile", "schema": schema}}}


def custom_request(syntax: str, definition: str) -> dict[str, Any]:
    form = {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}
    return {"tools": [{"type": "custom", "custom": {"name": "hostile", "format": form}}], "tool_choice": "required"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def combinations(prefix: str) -> dict[str, Any]:
    """4 to the power of 12 alternatives, which takes a while to find out about; each prefix is another schema."""

    def choice(number: int) -> dict[str, Any]:
        names = [f"{prefix}{number}_{option}" for option in range(4)]
        return {"anyOf": [{"properties": {name: {"type": "integer"}}, "required": [name]} for name in names]}

    return {"type": "object", "allOf": [choice(number) for number in range(12)]}


def doubling(levels: int) -> str:
    """A grammar of one text, twice as long with each level."""
    rules = [f"r{level}: r{level + 1} r{level + 1}" for level in range(levels)]
    return "\n".join(["start: r0", *rules, f'r{levels}: "x"'])


DEPENDENT = {f"key{i}": {"required": [f"other{i}"]} for i in range(18)}
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "deep nesting": (schema_request(nested(120)), SCHEMA),
    "too many combinations": (schema_request(combinations("p")), SCHEMA),
    "schemas that depend on each other": (
        schema_request({"type": "object", "dependentSchemas": DEPENDENT}),
        SCHEMA,
    ),
    "a huge enum": (schema_request({"properties": {"a": {"enum": [f"word {i}" for i in range(60_000)]}}}), SCHEMA),
    "a circle of references": (schema_request({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), SCHEMA),
    "a regex of nested counts": (custom_request("regex", "((a{1,99}){1,99}){1,99}"), DEFINITION),
    "a regex of huge length": (custom_request("regex", "|".join(f"w{i}(x|y)*" for i in range(9000))), DEFINITION),
    "a regex of lookaround": (custom_request("regex", "(?=(a+)+b)c"), DEFINITION),
    "brackets without end": (custom_request("lark", f'start: {"(" * 3000}"a"{")" * 3000}'), DEFINITION),
    "counts of counts": (custom_request("lark", "start: a{500}\na: b{500}\nb: /[a-z]{500}/"), DEFINITION),
    "a text of 16 million characters": (custom_request("lark", doubling(24)), DEFINITION),
    "such a text behind a choice": (custom_request("lark", doubling(24).replace("r0", '"a" | r0', 1)), DEFINITION),
    "one of patterns": (custom_request("lark", doubling(24).replace('"x"', "/x+/")), DEFINITION),
}


@pytest.fixture(scope="module")
def http(server: LiveServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=WAIT) as http:
        yield http


@pytest.fixture(scope="module")
def endless(smollm2_path: Path) -> dict[str, int]:
    """What keeps an answer from ending before its token budget does."""
    tokenizer = Tokenizer.open(str(smollm2_path))
    bans = {str(token): -100 for token in tokenizer.eog_ids}
    tokenizer.close()
    return bans


def post(http: httpx2.Client, fields: dict[str, Any]) -> httpx2.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 2, **fields}
    return http.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize(("fields", "param"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_refused(http: httpx2.Client, fields: dict[str, Any], param: str) -> None:
    response = post(http, fields)
    assert (400, param) == (response.status_code, response.json()["error"]["param"])


def test_a_stream_goes_on_while_hostile_schemas_are_judged(http: httpx2.Client, endless: dict[str, int]) -> None:
    fields = {"max_completion_tokens": TOKENS, "logit_bias": endless, "stream": True, "model": MODEL}
    body = {**fields, "messages": [{"role": "user", "content": "Tell a story."}], "stream_options": USAGE}
    with ThreadPoolExecutor(1) as pool, http.stream("POST", "/v1/chat/completions", json=body) as response:
        chunks = (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {"))
        next(chunks)
        between = [read_until(chunks, pool.submit(post, http, schema_request(combinations(p)))) for p in "abc"]
        *_, last = chunks
    assert [] == [count for count in between if count < MANY], between
    assert TOKENS == last["usage"]["completion_tokens"]


def read_until(chunks: Iterator[dict[str, Any]], refused: "Future[httpx2.Response]") -> int:
    """Read a stream until the other request is answered with 400; give how many chunks came before that answer."""
    count = 0
    while not refused.done():
        next(chunks)
        count += not refused.done()
    assert 400 == refused.result().status_code
    return count


def test_the_server_is_well_behind_it_all(http: httpx2.Client) -> None:
    assert 400 == post(http, schema_request(nested(110))).status_code
    assert {"completion_tokens": 2} == {"completion_tokens": post(http, {}).json()["usage"]["completion_tokens"]}
    assert 200 == http.get("/health").status_code
