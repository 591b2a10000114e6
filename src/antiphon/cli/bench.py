"""``antiphon bench``: measures any one or two running servers over HTTP, with one table at the end."""

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

import anyio
import msgspec
from cyclopts import Parameter
from msgspec import Struct

from antiphon.cli.chat_client import open_client, served_models
from antiphon.cli.numeric_options import count
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.load_testing import workloads
from antiphon.load_testing.figures import Figure, cells
from antiphon.load_testing.load import LoadError, Target
from antiphon.load_testing.workloads import QUICK, Prompts, Sizes

MAX_ROUNDS: Final = 100
MAX_STREAMS: Final = 256
SERVERS: Final = 2
"""The most that are compared."""
_TITLES: Final = ("work", "measured", "beside it", "ratio", "", "")

Measure = Callable[[Target, Prompts], Awaitable[float]]


class Row(Struct, frozen=True):
    """One line of the table, and how a server is asked for it."""

    name: str
    """What ``--only`` calls it."""
    work: str
    unit: str
    measure: Measure


def bench(
    *urls: str,
    model: Annotated[tuple[str, ...], Parameter(negative_iterable="", show_default=False)] = (),
    api_key: Annotated[tuple[str, ...], Parameter(negative_iterable="", show_default=False)] = (),
    rounds: Annotated[int, count(1, MAX_ROUNDS)] = 3,
    streams: Annotated[tuple[Annotated[int, count(1, MAX_STREAMS)], ...], Parameter(negative_iterable="")] = (
        1,
        4,
        16,
    ),
    only: Annotated[tuple[str, ...], Parameter(negative_iterable="", show_default=False)] = (),
    quick: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure a running server, or two of them side by side.

    Only standard fields of the Chat Completions API are sent, so that any server may be asked: this one, llama.cpp's,
    vLLM's, Ollama's. Two servers are asked in turn, round by round; a ratio is the median of the rounds' own ratios.
    What a server cannot do is told in its line, and the others go on. The numbers mean something only when nothing else
    runs.

    Parameters
    ----------
    urls
        A server's address, such as http://127.0.0.1:8000, and perhaps that of a server to compare it with.
    model
        The model to ask; a second one is the other server's. Default: the first that each server lists.
    api_key
        The key that the servers ask for; a second one is the other server's. It belongs in the variable: others see
        command lines.
    rounds
        How often everything is measured; the medians are shown.
    streams
        How many streams decode at the same time; repeatable.
    only
        The lines to measure; repeatable: decode, first-token, gaps, conversations, n, schema, prediction.
    quick
        Ask for far less, to see whether it works.
    json
        Print JSON instead of a table.
    """
    if not 1 <= len(urls) <= SERVERS:
        raise CommandError(f"Give one address or two, not {len(urls)}.", "antiphon bench http://127.0.0.1:8000")
    sizes = QUICK if quick else Sizes()
    chosen = choose_rows(rows_of(sizes, streams), only)
    targets = anyio.run(find_targets, urls, model, api_key)
    figures = anyio.run(measure, targets, chosen, rounds)
    if json:
        display.print_line(as_json(targets, figures))
    else:
        display.print_table(_TITLES, [cells(figure) for figure in figures])


def rows_of(sizes: Sizes, streams: Sequence[int]) -> list[Row]:
    """Give every line that can be measured over HTTP alone."""

    def rate(number: int) -> Measure:
        async def measure(target: Target, prompts: Prompts) -> float:
            return (await workloads.decode(target, prompts, number, sizes.answer)).overall

        return measure

    async def schema(target: Target, prompts: Prompts) -> float:
        return (await workloads.report(target, prompts)).under_schema

    async def prediction(target: Target, prompts: Prompts) -> float:
        found = await workloads.prediction(target, prompts, sizes)
        return found.plain / found.predicted

    def of(work: Callable[[Target, Prompts, Sizes], Awaitable[float]]) -> Measure:
        async def measure(target: Target, prompts: Prompts) -> float:
            return await work(target, prompts, sizes) * 1000

        return measure

    askers = f"shared {sizes.system:,}-token system prompt, {sizes.askers} askers"
    turns = f"{sizes.conversations} conversations, turns 2 to {sizes.turns}"
    return [
        *(Row("decode", f"throughput, {n} stream{'s' if n > 1 else ''}", "tokens/s", rate(n)) for n in streams),
        Row("first-token", f"first token, {askers}", "ms", of(_shared)),
        Row("gaps", f"gap p99 while {sizes.long_prompt:,}-token prompts come", "ms", of(workloads.longest_gap)),
        Row("conversations", f"first token, {turns}", "ms", of(workloads.conversations)),
        Row("n", f"n = {sizes.choices}, {sizes.choices_prompt}-token prompt", "ms", of(workloads.choices)),
        Row("schema", "report under a JSON Schema", "tokens/s", schema),
        Row("prediction", "predicted output, three words changed, times as fast", "x", prediction),
    ]


async def _shared(target: Target, prompts: Prompts, sizes: Sizes) -> float:
    return (await workloads.shared_prompt(target, prompts, sizes))[1]


def choose_rows(rows: list[Row], only: Sequence[str]) -> list[Row]:
    """Keep the lines that are named, or all. Raises :class:`CommandError` for a name that no line has."""
    names = list(dict.fromkeys(row.name for row in rows))
    for name in only:
        if name not in names:
            raise CommandError(f"There is no line {name}.", f"Lines: {', '.join(names)}")
    return [row for row in rows if not only or row.name in only]


async def find_targets(urls: Sequence[str], models: Sequence[str], keys: Sequence[str]) -> list[Target]:
    """Find out what to ask where. Raises :class:`CommandError` when a server cannot be asked."""
    for name, given in (("--model", models), ("--api-key", keys)):
        if len(given) > len(urls):
            raise CommandError(f"{name} was given {len(given)} times for {len(urls)} servers.")
    targets = []
    for url, model, key in zip(urls, _each(models, len(urls)), _each(keys, len(urls)), strict=True):
        try:
            target = Target.at(url, api_key=key)
        except ValueError as error:
            raise CommandError(f"{url} is no address.", "Write http://127.0.0.1:8000") from error
        targets.append(msgspec.structs.replace(target, model=model or await _first_model(url, key)))
    return targets


def _each(given: Sequence[str], number: int) -> list[str | None]:
    """Give one for each server: the last that was given goes on, and none is None."""
    padded = [*given, *[given[-1] if given else None] * number]
    return padded[:number]


async def _first_model(url: str, key: str | None) -> str:
    async with open_client(url, key) as client:
        names = await served_models(client)
    if not names:
        raise CommandError(f"{url} serves no model.")
    return names[0]


async def measure(targets: Sequence[Target], rows: Sequence[Row], rounds: int) -> list[Figure]:
    """Measure every line, the servers in turn, round by round. A line that fails is not tried again."""
    beside = f"{targets[1].host}:{targets[1].port}" if len(targets) == SERVERS else ""
    figures = [Figure(row.work, row.unit, beside) for row in rows]
    with display.bar("measuring", rounds * len(rows)) as advance:
        for number, (row, figure) in itertools.product(range(rounds), list(zip(rows, figures, strict=True))):
            if not figure.failure:
                # Words of its own for each: two addresses may be one server, with one cache.
                prompts = [Prompts(f"{number} {row.work} {index}") for index, _ in enumerate(targets)]
                try:
                    figure.add(*[await row.measure(*pair) for pair in zip(targets, prompts, strict=True)])
                except LoadError as error:
                    figure.failure = str(error)
            advance()
    return figures


def as_json(targets: Sequence[Target], figures: Sequence[Figure]) -> str:
    """Write everything that was found as one JSON object."""
    lines = [
        {
            "work": figure.work,
            "unit": figure.unit,
            "measured": figure.measured,
            "beside": figure.others,
            "ratio": figure.ratio,
            "failure": figure.failure,
        }
        for figure in figures
    ]
    servers = [{"address": f"{target.host}:{target.port}", "model": target.model} for target in targets]
    return msgspec.json.encode({"servers": servers, "lines": lines}).decode()
