"""Structured outputs: what a JSON Schema does to the decoding speed, and how long a new one takes to the first token.

This server tells the model of the schema in the prompt, llama.cpp's server does not; so that one is asked for its first
token both as it is, and with the same words in the system message.
"""

import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from rich.progress import Progress

from antiphon.engine.grammar import GrammarCompiler
from antiphon.engine.interface import EngineOptions
from antiphon.engine.llama import LlamaModel
from antiphon.rendering.json_schema import compile_schema
from bench.client import ask
from bench.report import Figure
from bench.servers import Server

Schema = dict[str, Any]
Body = Callable[[list[dict[str, str]], int], dict[str, Any]]
"""Makes a request of messages and a number of tokens."""

SECTIONS: Final = ("roof_and_gutters", "electrical_installation", "heating_and_ventilation", "doors_and_windows")
NEW_SCHEMA: Final = 10_000
"""Characters."""
WHOLE: Final = 320
"""Tokens within which this server's report ends."""
PART: Final = 96
"""Tokens of the other server's report that are timed: it may take a second for one of them."""
FEW: Final = 16
"""Tokens: llama.cpp's server holds back the beginning of JSON, and with fewer it sends no text at all."""
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


def report_schema() -> Schema:
    """Make the schema of a report that is mostly names of properties and values of enums."""
    section = _object(
        {
            "overall_condition_of_the_section": {"enum": ["excellent", "satisfactory", "needs attention"]},
            "inspection_completed_as_planned": {"type": "boolean"},
            "estimated_repair_priority": {"enum": ["immediate", "within a month", "within a year", "none"]},
            "number_of_defects_found": {"type": "integer", "minimum": 0, "maximum": 9},
        }
    )
    return _object({"report_type": {"const": "annual building inspection"}, **dict.fromkeys(SECTIONS, section)})


def new_schema(choice: random.Random) -> Schema:
    """Make a schema of about :data:`NEW_SCHEMA` characters that was never seen before."""
    properties: Schema = {}
    while len(json.dumps(_object(properties))) < NEW_SCHEMA:
        name = f"{choice.choice(WORDS)}_{choice.choice(WORDS)}_{choice.randrange(100_000)}"
        words = " ".join(choice.choice(WORDS) for _ in range(12))
        kind = choice.choice(({"type": "integer", "minimum": 0}, {"type": "boolean"}, {"type": "string"}))
        properties[name] = {**kind, "description": f"The {words}."}
    return _object(properties)


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


class Asker:
    """Asks servers for JSON; every message is new, so that nothing but the schema can be known already."""

    def __init__(self, body: Body, seed: int) -> None:
        self._body = body
        self._random = random.Random(seed)  # noqa: S311 (words of prompts)

    async def speeds(self, server: Server, limit: int) -> tuple[float, float]:
        """Return tokens a second under the report's schema, and of free text as long, prompts already known."""
        messages = [{"role": "user", "content": f"Report on house {self._random.randrange(100_000)}."}]
        constrained = {**self._body(messages, limit), **response_format(report_schema())}
        del constrained["logit_bias"]
        rate, tokens = await self._speed(server, constrained)
        free, _ = await self._speed(server, self._body(messages, tokens))
        return rate, free

    async def _speed(self, server: Server, body: dict[str, Any]) -> tuple[float, int]:
        await ask(server.port, {**body, "max_tokens": FEW})
        sample = await ask(server.port, body)
        return sample.completion_tokens / sample.total, sample.completion_tokens

    async def first_token(self, server: Server, *, told: bool) -> float:
        """Return milliseconds to the first token under a new schema; ``told``: our words are in the system message."""
        schema = new_schema(self._random)
        messages = [{"role": "user", "content": "Give an example."}]
        if told:
            words = f"Answer in JSON that follows this schema (report):\n{json.dumps(schema)}"
            messages.insert(0, {"role": "system", "content": words})
        body = {**self._body(messages, FEW), **response_format(schema)}
        del body["logit_bias"]
        return (await ask(server.port, body)).first_token * 1000


def response_format(schema: Schema) -> dict[str, Any]:
    """Ask for JSON that keeps to a schema."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "report", "schema": schema}}}


class _Round(Struct, frozen=True):
    """What one round found, of ours and of theirs."""

    gains: tuple[float, float]
    """Speed under the schema over that of free text."""
    speeds: tuple[float, float]
    told: tuple[float, float]
    untold: float
    """Of theirs."""


async def _round(asker: Asker, ours: Server, theirs: Server) -> _Round:
    our_speed, our_free = await asker.speeds(ours, WHOLE)
    their_speed, their_free = await asker.speeds(theirs, PART)
    return _Round(
        gains=(our_speed / our_free, their_speed / their_free),
        speeds=(our_speed, their_speed),
        told=(await asker.first_token(ours, told=False), await asker.first_token(theirs, told=True)),
        untold=await asker.first_token(theirs, told=False),
    )


async def measure(body: Body, ours: Server, theirs: Server, rounds: int, progress: Progress) -> list[Figure]:
    """Measure both servers in turn, ``rounds`` times after a warm-up."""
    asker = Asker(body, 23)
    tracked = progress.track(range(rounds + 1), description="structured outputs")
    kept = [await _round(asker, ours, theirs) for _ in tracked][1:]
    gains, speeds, told = (
        ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        for pairs in ([r.gains for r in kept], [r.speeds for r in kept], [r.told for r in kept])
    )
    return [
        Figure("JSON Schema, decode over free text on the same server", "x", *gains, "ours ≥ 1.3"),
        Figure("decode, JSON Schema", "tokens/s", *speeds, ""),
        Figure("first token, new 10 kB schema, same prompt", "ms", *told, ""),
        Figure("first token, new 10 kB schema, not told to their model", "ms", told[0], [r.untold for r in kept], ""),
    ]


def compile_times(model_path: str, rounds: int = 5) -> tuple[float, float]:
    """Return median milliseconds from a new schema to a grammar's text, and from there to the first step's mask."""
    model = LlamaModel.open(EngineOptions(model_path=model_path))
    compiler = GrammarCompiler(model.grammar_tokenizer)
    compiler.prepare().result()
    choice = random.Random(31)  # noqa: S311 (words of schemas)
    checked, ready = [], []
    for _ in range(rounds):
        schema = new_schema(choice)
        start = time.perf_counter()
        text = compile_schema(schema, strict=False, param="p")
        checked.append(time.perf_counter() - start)
        compiler.compile(f"start: %json {text}").result().allowed(model.n_vocab)
        ready.append(time.perf_counter() - start - checked[-1])
    compiler.close()
    model.close()
    return statistics.median(checked) * 1000, statistics.median(ready) * 1000
