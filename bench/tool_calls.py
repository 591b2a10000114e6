"""The share of prompts after which a model makes the right tool calls: `python -m bench.tool_calls URL` or a row.

Each prompt asks for one or two calls of five small functions. An answer is right if its calls are the expected ones in
their order, with the expected arguments and no others. Texts are compared in lower case. Decoding is greedy.
"""

import argparse
import asyncio
import json
import sys
import urllib.error
import urllib.request
from typing import Any, Final

from msgspec import Struct

from antiphon.load_testing.load import LoadError, Target
from antiphon.load_testing.workloads import Prompts, user
from bench.rows import PEER, Found, Line, Round, Row

TIMEOUT: Final = 300.0
"""Seconds for one answer."""
MAX_TOKENS: Final = 160
Call = tuple[str, dict[str, Any]]


def _function(name: str, description: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS: Final = [
    _function("get_weather", "Get the current weather of a city.", city="string"),
    _function("add", "Add two numbers.", a="integer", b="integer"),
    _function("set_timer", "Set a timer.", minutes="integer"),
    _function("translate", "Translate a word into a language.", word="string", language="string"),
    _function("turn_light", "Turn the light of a room on or off.", room="string", on="boolean"),
]


class Case(Struct, frozen=True):
    """A prompt and the calls that answer it."""

    prompt: str
    calls: tuple[Call, ...]
    choice: str = "auto"


CASES: Final = (
    Case("What is the weather in Paris?", (("get_weather", {"city": "Paris"}),)),
    Case("How warm is it in Tokyo right now?", (("get_weather", {"city": "Tokyo"}),)),
    Case("Use the tool to add 17 and 25.", (("add", {"a": 17, "b": 25}),)),
    Case("What is 1234 plus 4321? Use the tool.", (("add", {"a": 1234, "b": 4321}),)),
    Case("Set a timer for 10 minutes.", (("set_timer", {"minutes": 10}),)),
    Case("Wake me up in 45 minutes.", (("set_timer", {"minutes": 45}),)),
    Case("Translate the word house into French.", (("translate", {"word": "house", "language": "French"}),)),
    Case("Turn on the light in the kitchen.", (("turn_light", {"room": "kitchen", "on": True}),)),
    Case("What is the weather in Oslo?", (("get_weather", {"city": "Oslo"}),), "required"),
    Case("Turn off the light in the bedroom.", (("turn_light", {"room": "bedroom", "on": False}),), "required"),
    Case(
        "What is the weather in Rome and in Berlin?",
        (("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Berlin"})),
    ),
    Case(
        "Set a timer for 5 minutes and turn on the light in the kitchen.",
        (("set_timer", {"minutes": 5}), ("turn_light", {"room": "kitchen", "on": True})),
    ),
)


def row() -> Row:
    """Return the row about tool calls."""
    lines = (Line(f"tool calls, right after {len(CASES)} prompts", "%", PEER),)
    return Row("tool-calls", lines, _measure, max_rounds=1)


async def _measure(turn: Round) -> list[Found]:
    async def share(target: Target, _: Prompts) -> float:
        right = [await asyncio.to_thread(is_right, target, case) for case in CASES]
        return 100 * sum(right) / len(CASES)

    return [await turn.both(share)]


def is_right(target: Target, case: Case) -> bool:
    """Return whether the server answers the prompt with the expected calls. Raises :class:`LoadError`."""
    return normalised(case.calls) == normalised(calls_of(_message(target, case)))


def calls_of(message: dict[str, Any]) -> tuple[Call, ...]:
    """Return names and arguments of a message's calls; arguments that are no JSON object are ``{}``."""
    return tuple(_call(call["function"]) for call in message.get("tool_calls") or ())


def _call(function: dict[str, str]) -> Call:
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        arguments = None
    return function["name"], arguments if isinstance(arguments, dict) else {}


def normalised(calls: tuple[Call, ...]) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls with texts in lower case."""
    return [(name, {key: _folded(value) for key, value in arguments.items()}) for name, arguments in calls]


def _folded(value: object) -> object:
    return value.casefold() if isinstance(value, str) else value


def _message(target: Target, case: Case) -> dict[str, Any]:
    body = {
        "model": target.model,
        "messages": [user(case.prompt)],
        "tools": TOOLS,
        "tool_choice": case.choice,
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
    }
    key = {"Authorization": f"Bearer {target.api_key}"} if target.api_key else {}
    request = urllib.request.Request(  # noqa: S310 (the server that is measured)
        f"{'https' if target.tls else 'http'}://{target.host}:{target.port}{target.path}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **key},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            message: dict[str, Any] = json.load(answer)["choices"][0]["message"]
    except (OSError, ValueError, LookupError, urllib.error.URLError) as error:
        raise LoadError(f"the prompt {case.prompt!r} got no message: {error}") from error
    return message


def main() -> None:
    """Ask a running server and print each prompt with its result, and the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--model", required=True)
    options = parser.parse_args()
    target = Target.at(options.url, model=options.model)
    right = 0
    for case in CASES:
        message = _message(target, case)
        found = normalised(case.calls) == normalised(calls_of(message))
        right += found
        shown = calls_of(message) or message.get("content")
        sys.stdout.write(f"{'right' if found else 'wrong'}  {case.prompt}  {shown!r}\n")
    sys.stdout.write(f"{right} of {len(CASES)} prompts: {100 * right / len(CASES):.0f} %\n")


if __name__ == "__main__":
    main()
