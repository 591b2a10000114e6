"""The workloads of benchmarks over HTTP, with standard fields only, so that any server can be measured.

Every workload measures one server for one round. Prompts are random words, so that no prompt has a cached prefix unless
the workload is about caching.
"""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from antiphon.load_testing.figures import percentile
from antiphon.load_testing.load import Answer, FirstOnly, LoadError, Target, Watch, ask, ask_all, run_concurrently

WORDS: Final = (
    "river",
    "stone",
    "light",
    "paper",
    "garden",
    "engine",
    "winter",
    "letter",
    "market",
    "silver",
    "bridge",
)
"""Each is one token of most vocabularies."""
REPORT: Final = 400
"""Maximum tokens of a report under :func:`report_schema`."""
REPLACED: Final = 3
"""Words of a prediction that differ from the answer."""
ENDLESS: Final = 1500
"""Maximum tokens of an answer that is stopped before its end."""
_OVERLAP: Final = 0.25
"""Share of all tokens that must arrive while all streams run."""
_SECTIONS: Final = ("roof_and_gutters", "electrical_installation", "heating_and_ventilation", "doors_and_windows")

Message = dict[str, str]


class Sizes(Struct, frozen=True):
    """The sizes of the workloads. Numbers of tokens are approximate."""

    answer: int = 64
    """Tokens of an answer whose decoding is timed."""
    system: int = 1500
    askers: int = 16
    long_prompt: int = 1000
    long_prompts: int = 3
    opening: int = 300
    """Tokens of a conversation's first message."""
    conversations: int = 12
    turns: int = 4
    reply: int = 12
    """Tokens of the answer to a turn."""
    choices: int = 8
    choices_prompt: int = 900
    choice: int = 32
    """Tokens of each choice."""
    predicted: int = 256


QUICK: Final = Sizes(
    answer=16,
    system=200,
    askers=4,
    long_prompt=150,
    long_prompts=2,
    opening=40,
    conversations=3,
    turns=3,
    choices=3,
    choices_prompt=90,
    choice=8,
    predicted=48,
)


class Prompts:
    """Random prompts, different for each seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 (words of prompts)

    def words(self, number: int) -> str:
        """Return a text of this many words."""
        return " ".join(self._random.choice(WORDS) for _ in range(number))

    def counting(self) -> list[Message]:
        """Return a prompt whose answer is long and certain even for a small model, so that it does not vary."""
        first = self._random.randrange(1, 100)
        return [user(f"Count from {first} to {first + 200}, separated by commas.")]

    def story(self) -> list[Message]:
        """Return a prompt for a long text."""
        return [user(f"Write a very long story about {self.words(8)}.")]


class Decoding(Struct, frozen=True):
    """The decoding speed of one round."""

    overall: float
    """Tokens a second of all streams together, from the requests to the last token."""
    steady: float | None
    """Tokens a second while all streams decode, or None when that time is too short."""


class Predicted(Struct, frozen=True):
    """One answer with and without a prediction. Times are in seconds, with a cached prompt."""

    plain: float
    predicted: float
    useless: float
    """Time with a prediction of random words."""
    accepted: float
    """Share of the answer's tokens that the server reports as accepted from the prediction."""
    equal: bool
    """Whether the answer was the same with and without the prediction."""
    tokens: int
    """Tokens of the answer, without rejected ones of the prediction."""


class Reported(Struct, frozen=True):
    """Tokens a second of a report under a schema, and of free text of the same length."""

    under_schema: float
    free: float
    """At temperature 1, where text does not repeat itself."""
    repetitive: float
    """At temperature 0, where a small model repeats itself, which prompt lookup can use."""


def user(content: str) -> Message:
    """Return a user message."""
    return {"role": "user", "content": content}


def free_text(target: Target, messages: list[Message], tokens: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """Return a request for at most this many tokens of free text, at temperature 0 unless ``fields`` override it."""
    return {"messages": messages, "max_tokens": tokens, "temperature": 0, **target.fields, **fields}


async def decode(target: Target, prompts: Prompts, streams: int, tokens: int) -> Decoding:
    """Measure streams that decode at the same time, at temperature 1, where text does not repeat itself."""
    bodies = [free_text(target, prompts.story(), tokens, temperature=1) for _ in range(streams)]
    answers = await ask_all(target, bodies)
    return Decoding(overall=overall_rate(answers), steady=steady_rate(answers))


def overall_rate(answers: Sequence[Answer]) -> float:
    """Return the tokens a second from the first request to the last end."""
    start, end = min(answer.sent for answer in answers), max(answer.ended for answer in answers)
    return sum(answer.tokens for answer in answers) / (end - start)


def steady_rate(answers: Sequence[Answer]) -> float | None:
    """Return the tokens a second between the last stream's start and the first one's end, or None for too few tokens.

    A piece of text counts for the mean tokens of its answer's pieces.
    """
    start, end = max(answer.arrivals[0] for answer in answers), min(answer.arrivals[-1] for answer in answers)
    came = [
        sum(start < moment <= end for moment in answer.arrivals) * answer.tokens / len(answer.arrivals)
        for answer in answers
    ]
    enough = sum(came) >= _OVERLAP * sum(answer.tokens for answer in answers)
    return sum(came) / (end - start) if enough and end > start else None


async def first_token(target: Target, messages: list[Message]) -> float:
    """Return the seconds to the first token."""
    return (await ask(target, free_text(target, messages, ENDLESS), FirstOnly())).first_token


async def wait_until_idle(target: Target) -> None:
    """Wait until the server has ended aborted requests: it answers a short one."""
    await ask(target, free_text(target, [user("Hello.")], 2))


async def shared_prompt(target: Target, prompts: Prompts, sizes: Sizes) -> tuple[float, float]:
    """Return the seconds to the first token after a long system prompt: the first request's, and the others' median.

    Requests that would be slower than the median are aborted.
    """
    system = {"role": "system", "content": prompts.words(sizes.system)}
    conversations = [[system, user(f"In short: {prompts.words(8)}?")] for _ in range(sizes.askers + 1)]
    cold = await first_token(target, conversations.pop())
    times = await earliest_first_tokens(target, conversations, sizes.askers // 2 + 1)
    await wait_until_idle(target)
    return cold, times[-1] if sizes.askers % 2 else statistics.mean(times[-2:])


async def earliest_first_tokens(target: Target, conversations: list[list[Message]], number: int) -> list[float]:
    """Send all conversations at once and return the ``number`` shortest times to the first token, in seconds."""
    tasks = [asyncio.create_task(first_token(target, messages)) for messages in conversations]
    times: list[float] = []
    try:
        for done in asyncio.as_completed(tasks):
            times.append(await done)
            if len(times) == number:
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return sorted(times)


async def gaps(target: Target, prompts: Prompts, sizes: Sizes) -> list[float]:
    """Return the seconds between the pieces of one stream while long prompts arrive, one after the other."""
    watch = Watch()
    moments: list[float] = []
    began: list[float] = []

    async def stream() -> None:
        body = free_text(target, prompts.story(), ENDLESS, temperature=1)
        moments.extend((await ask(target, body, watch)).arrivals)
        if not watch.enough.is_set():
            raise LoadError("the stream ended before the prompts were answered")

    async def interrupt() -> None:
        await watch.started.wait()
        began.append(time.perf_counter())
        for _ in range(sizes.long_prompts):
            await first_token(target, [user(prompts.words(sizes.long_prompt))])
        watch.enough.set()

    await run_concurrently([stream(), interrupt()])
    await wait_until_idle(target)
    return [later - earlier for earlier, later in itertools.pairwise(moments) if later > began[0]]


async def gap_p99(target: Target, prompts: Prompts, sizes: Sizes) -> float:
    """Return the 99th percentile of :func:`gaps`, in seconds."""
    return percentile(await gaps(target, prompts, sizes), 0.99)


async def conversations(target: Target, prompts: Prompts, sizes: Sizes) -> float:
    """Run conversations at the same time and return the median seconds to the first token, without first turns."""

    async def converse() -> list[float]:
        messages, times = [user(prompts.words(sizes.opening))], []
        for _ in range(sizes.turns):
            answer = await ask(target, free_text(target, messages, sizes.reply))
            times.append(answer.first_token)
            messages += [{"role": "assistant", "content": answer.text}, user(f"And {prompts.words(6)}?")]
        return times[1:]

    times = await run_concurrently([converse() for _ in range(sizes.conversations)])
    return statistics.median(itertools.chain.from_iterable(times))


async def choices(target: Target, prompts: Prompts, sizes: Sizes) -> float:
    """Return the seconds that ``n`` choices for one long prompt take."""
    body = free_text(target, [user(prompts.words(sizes.choices_prompt))], sizes.choice, temperature=1, n=sizes.choices)
    answer = await ask(target, body)
    if answer.choices != sizes.choices:
        raise LoadError(f"n = {sizes.choices} gave {answer.choices}")
    return answer.total


def report_schema() -> dict[str, Any]:
    """Return the schema of a report that is mostly property names and enum values."""
    section = object_schema(
        {
            "overall_condition_of_the_section": {"enum": ["excellent", "satisfactory", "needs attention"]},
            "inspection_completed_as_planned": {"type": "boolean"},
            "estimated_repair_priority": {"enum": ["immediate", "within a month", "within a year", "none"]},
            "number_of_defects_found": {"type": "integer", "minimum": 0, "maximum": 9},
        }
    )
    return object_schema({"report_type": {"const": "annual building inspection"}, **dict.fromkeys(_SECTIONS, section)})


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with exactly these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a request for JSON under a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "report", "strict": True, "schema": schema}}
    return {"response_format": form, "temperature": 0}


async def report(target: Target, prompts: Prompts) -> Reported:
    """Measure a report under a JSON Schema, and free text of the same length, with cached prompts."""
    messages = [user(f"Report on the house {prompts.words(6)}.")]
    constrained = {"messages": messages, **response_format(report_schema())}
    await ask(target, {**constrained, "max_tokens": 16})
    under_schema = await ask(target, {**constrained, "max_tokens": REPORT})
    await ask(target, free_text(target, messages, 2))
    tokens = max(2, under_schema.tokens)
    varied = await ask(target, free_text(target, messages, tokens, temperature=1))
    repetitive = await ask(target, free_text(target, messages, tokens))
    rates = [answer.tokens / answer.total for answer in (under_schema, varied, repetitive)]
    return Reported(under_schema=rates[0], free=rates[1], repetitive=rates[2])


async def prediction(target: Target, prompts: Prompts, sizes: Sizes) -> Predicted:
    """Measure an answer, then the same with that answer as the prediction, a few words replaced."""
    messages = prompts.counting()
    await ask(target, free_text(target, messages, 2))
    plain = await ask(target, free_text(target, messages, sizes.predicted))
    expected = {"type": "content", "content": replace_words(plain.text)}
    predicted = await ask(target, free_text(target, messages, sizes.predicted, prediction=expected))
    nothing = {"type": "content", "content": prompts.words(sizes.predicted)}
    useless = await ask(target, free_text(target, messages, sizes.predicted, prediction=nothing))
    details = predicted.usage.completion_tokens_details
    accepted = (details and details.accepted_prediction_tokens) or 0
    return Predicted(
        plain=plain.total,
        predicted=predicted.total,
        useless=useless.total,
        accepted=accepted / max(1, plain.tokens),
        equal=predicted.text == plain.text,
        tokens=plain.tokens,
    )


def replace_words(text: str) -> str:
    """Replace :data:`REPLACED` words of a text, evenly spaced."""
    words = text.split(" ")
    for number in range(1, REPLACED + 1):
        words[number * len(words) // (REPLACED + 1)] = "zebra"
    return " ".join(words)
