"""``antiphon bench``: measures one or two running servers over HTTP and prints one table."""

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
"""Maximum number of servers."""
_TITLES: Final = ("work", "measured", "compared with", "ratio", "", "")

Measure = Callable[[Target, Prompts], Awaitable[float]]


class Row(Struct, frozen=True):
    """One line of the table, and its measurement."""

    name: str
    """The line's name in ``--only``."""
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
    """Measure a running server, or compare two.

    Requests have only standard fields of the Chat Completions API, so any server can be measured: Antiphon,
    llama.cpp's server, vLLM, Ollama. Two servers are measured in turn, round by round. A ratio is the median of the
    rounds' ratios. If a server cannot do a line's work, the line shows the error and the other lines are measured. Run
    nothing else on the machine meanwhile.

    Parameters
    ----------
    urls
        The address of a server, such as http://127.0.0.1:8000, and optionally that of a server to compare it with.
    model
        The model to measure; a second one is for the second server. Default: the first model of each server.
    api_key
        The API key; a second one is for the second server. Put it in the variable: other users of the machine see
        command lines.
    rounds
        Number of rounds; the table shows their medians.
    streams
        Number of streams that decode at the same time; repeatable.
    only
        The lines to measure; repeatable: decode, first-token, gaps, conversations, n, schema, prediction.
    quick
        Measure with short prompts and answers, as a trial.
    json
        Print JSON instead of a table.
    """
    if not 1 <= len(urls) <= SERVERS:
        raise CommandError(f"Name one address or two, not {len(urls)}.", "antiphon bench http://127.0.0.1:8000")
    sizes = QUICK if quick else Sizes()
    chosen = choose_rows(rows_of(sizes, streams), only)
    targets = anyio.run(find_targets, urls, model, api_key)
    figures = anyio.run(measure, targets, chosen, rounds)
    if json:
        display.print_line(as_json(targets, figures))
    else:
        display.print_table(_TITLES, [cells(figure) for figure in figures])


def rows_of(sizes: Sizes, streams: Sequence[int]) -> list[Row]:
    """Return all lines of the table."""

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
        Row("gaps", f"gap p99 while {sizes.long_prompt:,}-token prompts come", "ms", of(workloads.gap_p99)),
        Row("conversations", f"first token, {turns}", "ms", of(workloads.conversations)),
        Row("n", f"n = {sizes.choices}, {sizes.choices_prompt}-token prompt", "ms", of(workloads.choices)),
        Row("schema", "report under a JSON Schema", "tokens/s", schema),
        Row("prediction", "predicted output, three words changed, times as fast", "x", prediction),
    ]


async def _shared(target: Target, prompts: Prompts, sizes: Sizes) -> float:
    return (await workloads.shared_prompt(target, prompts, sizes))[1]


def choose_rows(rows: list[Row], only: Sequence[str]) -> list[Row]:
    """Return the lines that ``only`` names, or all. Raises :class:`CommandError` for an unknown name."""
    names = list(dict.fromkeys(row.name for row in rows))
    for name in only:
        if name not in names:
            raise CommandError(f"There is no line {name}.", f"Lines: {', '.join(names)}")
    return [row for row in rows if not only or row.name in only]


async def find_targets(urls: Sequence[str], models: Sequence[str], keys: Sequence[str]) -> list[Target]:
    """Return the servers with their models and keys. Raises :class:`CommandError` when one cannot be reached."""
    for name, given in (("--model", models), ("--api-key", keys)):
        if len(given) > len(urls):
            raise CommandError(f"{name} was given {len(given)} times for {len(urls)} servers.")
    targets = []
    for url, model, key in zip(urls, _each(models, len(urls)), _each(keys, len(urls)), strict=True):
        try:
            target = Target.at(url, api_key=key)
        except ValueError as error:
            raise CommandError(f"{url} is not an address.", "Write http://127.0.0.1:8000") from error
        targets.append(msgspec.structs.replace(target, model=model or await _first_model(url, key)))
    return targets


def _each(given: Sequence[str], number: int) -> list[str | None]:
    """Return one value for each server: the last is repeated, and no value is None."""
    padded = [*given, *[given[-1] if given else None] * number]
    return padded[:number]


async def _first_model(url: str, key: str | None) -> str:
    async with open_client(url, key) as client:
        names = await served_models(client)
    if not names:
        raise CommandError(f"{url} serves no model.")
    return names[0]


async def measure(targets: Sequence[Target], rows: Sequence[Row], rounds: int) -> list[Figure]:
    """Measure every line, the servers in turn, round by round. A line that failed is not repeated."""
    baseline = f"{targets[1].host}:{targets[1].port}" if len(targets) == SERVERS else ""
    figures = [Figure(row.work, row.unit, baseline) for row in rows]
    with display.bar("measuring", rounds * len(rows)) as advance:
        for number, (row, figure) in itertools.product(range(rounds), list(zip(rows, figures, strict=True))):
            if not figure.failure:
                # Each server gets other words: two addresses may be one server, with one cache.
                prompts = [Prompts(f"{number} {row.work} {index}") for index, _ in enumerate(targets)]
                try:
                    figure.add(*[await row.measure(*pair) for pair in zip(targets, prompts, strict=True)])
                except LoadError as error:
                    figure.failure = str(error)
            advance()
    return figures


def as_json(targets: Sequence[Target], figures: Sequence[Figure]) -> str:
    """Return the results as one JSON object."""
    lines = [
        {
            "work": figure.work,
            "unit": figure.unit,
            "measured": figure.measured,
            "baseline": figure.baseline_values,
            "ratio": figure.ratio,
            "failure": figure.failure,
        }
        for figure in figures
    ]
    servers = [{"address": f"{target.host}:{target.port}", "model": target.model} for target in targets]
    return msgspec.json.encode({"servers": servers, "lines": lines}).decode()
