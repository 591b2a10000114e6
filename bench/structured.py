"""Structured outputs: what a JSON Schema does to the decoding speed, and how long a new one takes to the first token.

This server tells the model of the schema in the prompt, llama.cpp's server does not; so that one is asked for its first
token both as it is, and with the same words in the system message.
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
"""Tokens: llama.cpp's server holds back the beginning of JSON, and with fewer it sends no text at all."""
OWN: Final = 1.3
"""Of the rate of free text."""
THEIRS: Final = 2
"""Of the peer's rate."""
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
    """Give the rows about JSON Schema."""
    report = (
        Line("JSON Schema report, decode", "tokens/s", PEER, Aim(">=", THEIRS)),
        Line("JSON Schema report, decode, of our own free text", "tokens/s", "ours, free text", Aim(">=", OWN)),
        Line("JSON Schema report, decode, of our own repetitive text", "tokens/s", "ours, temperature 0"),
        Line("JSON Schema report, over free text on the same server", "x", PEER),
    )
    new = (
        Line("first token, new 10 kB schema, same prompt", "ms", PEER),
        Line("first token, new 10 kB schema, not told to their model", "ms", PEER),
        Line("new 10 kB schema, checked and written as a grammar", "ms"),
        Line("new 10 kB schema, grammar compiled, first mask made", "ms"),
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

    async def untold(target: Target, _: Prompts) -> float:
        return await first_token(target, new_schema(choice, length), told=False)

    async def told(target: Target, _: Prompts) -> float:
        return await first_token(target, new_schema(choice, length), told=True)

    ours, theirs_told, theirs_untold = await turn.ours(untold), await turn.theirs(told), await turn.theirs(untold)
    checked, ready = await asyncio.to_thread(compile_times, turn.site.model, length)
    return [(ours, theirs_told), (ours, theirs_untold), (checked, None), (ready, None)]


def new_schema(choice: random.Random, length: int) -> dict[str, Any]:
    """Make a schema of about so many characters that was never seen before."""
    properties: dict[str, Any] = {}
    while len(json.dumps(object_schema(properties))) < length:
        name = f"{choice.choice(WORDS)}_{choice.choice(WORDS)}_{choice.randrange(100_000)}"
        words = " ".join(choice.choice(WORDS) for _ in range(12))
        kind = choice.choice(({"type": "integer", "minimum": 0}, {"type": "boolean"}, {"type": "string"}))
        properties[name] = {**kind, "description": f"The {words}."}
    return object_schema(properties)


async def first_token(target: Target, schema: dict[str, Any], *, told: bool) -> float:
    """Return milliseconds to the first token under a schema; ``told``: our words of it are in the system message."""
    messages = [user("Give an example.")]
    if told:
        words = f"Answer in JSON that follows this schema (report):\n{json.dumps(schema)}"
        messages.insert(0, {"role": "system", "content": words})
    answer = await ask(target, {"messages": messages, "max_tokens": FEW, **response_format(schema)})
    return answer.first_token * 1000


def compile_times(model_path: str, length: int, rounds: int = 5) -> tuple[float, float]:
    """Return median milliseconds from a new schema to a grammar's text, and from there to the first step's mask."""
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
