"""What benchmarks ask of a server over HTTP: only standard fields, so that any server may be asked.

Every workload takes one server and gives what one round found. Prompts are words drawn at random, so that no prompt is
an earlier one's cached prefix unless the workload is about that.
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
from antiphon.load_testing.load import Answer, FirstOnly, LoadError, Target, Watch, ask, ask_all, together

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
"""Tokens within which the report of :func:`report_schema` ends."""
REPLACED: Final = 3
"""Words of a predicted text that are not what the model says."""
ENDLESS: Final = 1500
"""Tokens of an answer that is left before its end."""
_OVERLAP: Final = 0.25
"""Of all tokens, how many must come while all streams run."""
_SECTIONS: Final = ("roof_and_gutters", "electrical_installation", "heating_and_ventilation", "doors_and_windows")

Message = dict[str, str]


class Sizes(Struct, frozen=True):
    """How much is asked. Numbers of tokens are about so many."""

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
    """Words that nobody has asked before."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 (words of prompts)

    def words(self, number: int) -> str:
        """Give so many words."""
        return " ".join(self._random.choice(WORDS) for _ in range(number))

    def counting(self) -> list[Message]:
        """Ask for a long text of which a small model is sure, so that nothing hangs on ties."""
        first = self._random.randrange(1, 100)
        return [user(f"Count from {first} to {first + 200}, separated by commas.")]

    def story(self) -> list[Message]:
        """Ask for a long text."""
        return [user(f"Write a very long story about {self.words(8)}.")]


class Decoding(Struct, frozen=True):
    """How fast the streams of one round came."""

    overall: float
    """Tokens a second of all streams together, from the requests to the last token."""
    steady: float | None
    """The same while all of them decoded: without the prompts. None when that was too short."""


class Predicted(Struct, frozen=True):
    """One answer with and without a prediction. Times are in seconds, with the prompt known."""

    plain: float
    predicted: float
    useless: float
    """With a prediction that has nothing to do with the answer."""
    accepted: float
    """Of the answer's tokens, the share that the server says it took over from the prediction."""
    equal: bool
    """Whether the answer was the same with and without."""
    tokens: int
    """Of the answer, without those that were drafted in vain."""


class Reported(Struct, frozen=True):
    """Tokens a second of a report under a schema, and of free text of the same length."""

    under_schema: float
    free: float
    """At temperature 1, where text does not repeat itself."""
    repetitive: float
    """At temperature 0, where a small model repeats itself and prompt lookup, if there is one, finds that."""


def user(content: str) -> Message:
    """Write a user's message."""
    return {"role": "user", "content": content}


def free(target: Target, messages: list[Message], tokens: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """Ask for free text of at most so many tokens, always with the most likely one unless ``fields`` say otherwise."""
    return {"messages": messages, "max_tokens": tokens, "temperature": 0, **target.fields, **fields}


async def decode(target: Target, prompts: Prompts, streams: int, tokens: int) -> Decoding:
    """Let so many streams decode at the same time; at temperature 1, where text does not repeat itself."""
    bodies = [free(target, prompts.story(), tokens, temperature=1) for _ in range(streams)]
    answers = await ask_all(target, bodies)
    return Decoding(overall=overall_rate(answers), steady=steady_rate(answers))


def overall_rate(answers: Sequence[Answer]) -> float:
    """Give tokens a second from the first request to the last end."""
    start, end = min(answer.sent for answer in answers), max(answer.ended for answer in answers)
    return sum(answer.tokens for answer in answers) / (end - start)


def steady_rate(answers: Sequence[Answer]) -> float | None:
    """Give tokens a second from when the last stream has begun to when the first ends; None when too few came then.

    A piece of text counts for as many tokens as its answer has for each of its pieces.
    """
    start, end = max(answer.arrivals[0] for answer in answers), min(answer.arrivals[-1] for answer in answers)
    came = [
        sum(start < moment <= end for moment in answer.arrivals) * answer.tokens / len(answer.arrivals)
        for answer in answers
    ]
    enough = sum(came) >= _OVERLAP * sum(answer.tokens for answer in answers)
    return sum(came) / (end - start) if enough and end > start else None


async def first_token(target: Target, messages: list[Message]) -> float:
    """Give the seconds to the first token."""
    return (await ask(target, free(target, messages, ENDLESS), FirstOnly())).first_token


async def settle(target: Target) -> None:
    """Wait until the server has noticed who went away: it answers again."""
    await ask(target, free(target, [user("Hello.")], 2))


async def shared_prompt(target: Target, prompts: Prompts, sizes: Sizes) -> tuple[float, float]:
    """Give the seconds to the first token after a long system prompt: cold, and the median of many who share it then.

    Those who would come after the median are given up.
    """
    system = {"role": "system", "content": prompts.words(sizes.system)}
    conversations = [[system, user(f"In short: {prompts.words(8)}?")] for _ in range(sizes.askers + 1)]
    cold = await first_token(target, conversations.pop())
    times = await earliest(target, conversations, sizes.askers // 2 + 1)
    await settle(target)
    return cold, times[-1] if sizes.askers % 2 else statistics.mean(times[-2:])


async def earliest(target: Target, conversations: list[list[Message]], number: int) -> list[float]:
    """Ask all at once; give the seconds to the first token of those that come first, in order."""
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
    """Give the seconds between the pieces of one stream while long prompts of others come, one after the other."""
    watch = Watch()
    moments: list[float] = []
    began: list[float] = []

    async def stream() -> None:
        body = free(target, prompts.story(), ENDLESS, temperature=1)
        moments.extend((await ask(target, body, watch)).arrivals)
        if not watch.enough.is_set():
            raise LoadError("the stream ended before the prompts had come")

    async def interrupt() -> None:
        await watch.started.wait()
        began.append(time.perf_counter())
        for _ in range(sizes.long_prompts):
            await first_token(target, [user(prompts.words(sizes.long_prompt))])
        watch.enough.set()

    await together([stream(), interrupt()])
    await settle(target)
    return [later - earlier for earlier, later in itertools.pairwise(moments) if later > began[0]]


async def longest_gap(target: Target, prompts: Prompts, sizes: Sizes) -> float:
    """Give the 99th percentile of :func:`gaps`."""
    return percentile(await gaps(target, prompts, sizes), 0.99)


async def conversations(target: Target, prompts: Prompts, sizes: Sizes) -> float:
    """Let conversations run beside each other; give the median seconds to the first token, first turns apart."""

    async def converse() -> list[float]:
        messages, times = [user(prompts.words(sizes.opening))], []
        for _ in range(sizes.turns):
            answer = await ask(target, free(target, messages, sizes.reply))
            times.append(answer.first_token)
            messages += [{"role": "assistant", "content": answer.text}, user(f"And {prompts.words(6)}?")]
        return times[1:]

    times = await together([converse() for _ in range(sizes.conversations)])
    return statistics.median(itertools.chain.from_iterable(times))


async def choices(target: Target, prompts: Prompts, sizes: Sizes) -> float:
    """Give the seconds that ``n`` choices for one long prompt take."""
    body = free(target, [user(prompts.words(sizes.choices_prompt))], sizes.choice, temperature=1, n=sizes.choices)
    answer = await ask(target, body)
    if answer.choices != sizes.choices:
        raise LoadError(f"n = {sizes.choices} gave {answer.choices}")
    return answer.total


def report_schema() -> dict[str, Any]:
    """Make the schema of a report that is mostly names of properties and values of enums."""
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
    """Make the schema of an object with just these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Ask for JSON that keeps to a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "report", "strict": True, "schema": schema}}
    return {"response_format": form, "temperature": 0}


async def report(target: Target, prompts: Prompts) -> Reported:
    """Ask for a report under a JSON Schema, and for free text as long; the prompts are known before."""
    messages = [user(f"Report on the house {prompts.words(6)}.")]
    constrained = {"messages": messages, **response_format(report_schema())}
    await ask(target, {**constrained, "max_tokens": 16})
    under_schema = await ask(target, {**constrained, "max_tokens": REPORT})
    await ask(target, free(target, messages, 2))
    tokens = max(2, under_schema.tokens)
    varied = await ask(target, free(target, messages, tokens, temperature=1))
    repetitive = await ask(target, free(target, messages, tokens))
    rates = [answer.tokens / answer.total for answer in (under_schema, varied, repetitive)]
    return Reported(under_schema=rates[0], free=rates[1], repetitive=rates[2])


async def prediction(target: Target, prompts: Prompts, sizes: Sizes) -> Predicted:
    """Ask for a text, and again with that text as the prediction, some of its words replaced."""
    messages = prompts.counting()
    await ask(target, free(target, messages, 2))
    plain = await ask(target, free(target, messages, sizes.predicted))
    expected = {"type": "content", "content": replaced(plain.text)}
    predicted = await ask(target, free(target, messages, sizes.predicted, prediction=expected))
    nothing = {"type": "content", "content": prompts.words(sizes.predicted)}
    useless = await ask(target, free(target, messages, sizes.predicted, prediction=nothing))
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


def replaced(text: str) -> str:
    """Replace :data:`REPLACED` words of a text, evenly spread."""
    words = text.split(" ")
    for number in range(1, REPLACED + 1):
        words[number * len(words) // (REPLACED + 1)] = "zebra"
    return " ".join(words)
