"""Structured outputs: the decoding speed under a JSON Schema, and the time to the first token with a new schema.

This server writes the schema into the prompt, llama.cpp's server does not. So the peer's first token is measured both
without and with the same text in the system message.
"""

import asyncio
import json
import random
import statistics
import time
from typing import Any, Final

from antiphon.constraints.json_schema import compile_schema
from antiphon.engine.grammars.grammar import GrammarCompiler
from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.llama import LlamaModel
from antiphon.load_testing import workloads
from antiphon.load_testing.figures import Aim
from antiphon.load_testing.load import Target, ask
from antiphon.load_testing.workloads import Prompts, object_schema, response_format, user
from bench.rows import PEER, Found, Line, Round, Row

NEW_SCHEMA: Final = 10_000
"""Characters."""
QUICK_SCHEMA: Final = 1_000
FEW: Final = 16
"""Tokens of the answer: llama.cpp's server buffers the beginning of JSON, and with fewer tokens it sends no text."""
OWN: Final = 1.3
"""Minimum ratio to the rate of free text."""
THEIRS: Final = 2
"""Minimum ratio to the peer's rate."""
WORDS: Final = (
    "invoice",
    "customer",
    "delivery",
    "account",
    "region",
    "payment",
    "product",
    "service",
    "order",
    "stock",
)


def rows() -> list[Row]:
    """Return the rows about JSON Schema."""
    report = (
        Line("JSON Schema report, decode", "tokens/s", PEER, Aim(">=", THEIRS)),
        Line("JSON Schema report, decode, of our own free text", "tokens/s", "ours, free text", Aim(">=", OWN)),
        Line("JSON Schema report, decode, of our own repetitive text", "tokens/s", "ours, temperature 0"),
        Line("JSON Schema report, over free text on the same server", "x", PEER),
    )
    new = (
        Line("first token, new 10 kB schema, same prompt", "ms", PEER),
        Line("first token, new 10 kB schema, not in the peer's prompt", "ms", PEER),
        Line("new 10 kB schema, translated to a grammar", "ms"),
        Line("new 10 kB schema, grammar compiled, first mask computed", "ms"),
    )
    return [Row("schema", report, _report), Row("new-schema", new, _new_schema, max_rounds=2)]


async def _report(turn: Round) -> list[Found]:
    ours, theirs = await turn.both(workloads.report)
    return [
        (ours.under_schema, theirs.under_schema),
        (ours.under_schema, ours.free),
        (ours.under_schema, ours.repetitive),
        (ours.under_schema / ours.free, theirs.under_schema / theirs.free),
    ]


async def _new_schema(turn: Round) -> list[Found]:
    length = QUICK_SCHEMA if turn.site.quick else NEW_SCHEMA
    choice = random.Random(f"{turn.number} schema")  # noqa: S311 (words of schemas)

    async def plain(target: Target, _: Prompts) -> float:
        return await first_token(target, new_schema(choice, length), in_prompt=False)

    async def prompted(target: Target, _: Prompts) -> float:
        return await first_token(target, new_schema(choice, length), in_prompt=True)

    ours, theirs_prompted, theirs_plain = await turn.ours(plain), await turn.theirs(prompted), await turn.theirs(plain)
    checked, ready = await asyncio.to_thread(compile_times, turn.site.model, length)
    return [(ours, theirs_prompted), (ours, theirs_plain), (checked, None), (ready, None)]


def new_schema(choice: random.Random, length: int) -> dict[str, Any]:
    """Return a new random schema of about ``length`` characters."""
    properties: dict[str, Any] = {}
    while len(json.dumps(object_schema(properties))) < length:
        name = f"{choice.choice(WORDS)}_{choice.choice(WORDS)}_{choice.randrange(100_000)}"
        words = " ".join(choice.choice(WORDS) for _ in range(12))
        kind = choice.choice(({"type": "integer", "minimum": 0}, {"type": "boolean"}, {"type": "string"}))
        properties[name] = {**kind, "description": f"The {words}."}
    return object_schema(properties)


async def first_token(target: Target, schema: dict[str, Any], *, in_prompt: bool) -> float:
    """Return the milliseconds to the first token under a schema; ``in_prompt`` adds our system message about it."""
    messages = [user("Give an example.")]
    if in_prompt:
        words = f"Answer in JSON that follows this schema (report):\n{json.dumps(schema)}"
        messages.insert(0, {"role": "system", "content": words})
    answer = await ask(target, {"messages": messages, "max_tokens": FEW, **response_format(schema)})
    return answer.first_token * 1000


def compile_times(model_path: str, length: int, rounds: int = 5) -> tuple[float, float]:
    """Return the median milliseconds from a schema to its grammar's text, and from there to the first mask."""
    model = LlamaModel.open(EngineOptions(model_path=model_path))
    compiler = GrammarCompiler(model.grammar_tokenizer)
    compiler.prepare().result()
    choice = random.Random(31)  # noqa: S311 (words of schemas)
    checked, ready = [], []
    for _ in range(rounds):
        schema = new_schema(choice, length)
        start = time.perf_counter()
        text = compile_schema(schema, strict=False, param="p")
        checked.append(time.perf_counter() - start)
        compiler.compile(f"start: %json {text}").result().allowed(model.n_vocab)
        ready.append(time.perf_counter() - start - checked[-1])
    compiler.close()
    model.close()
    return statistics.median(checked) * 1000, statistics.median(ready) * 1000
