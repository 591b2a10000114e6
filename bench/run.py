"""`make bench`: every figure as a ratio from one run, servers interleaved round by round, medians of the rounds.

Both servers are up during the whole run and idle while the other is asked. Temperature 0, the same GGUF file, the same
number of threads. The end-of-generation tokens are banned by ``logit_bias``, so that every answer has the same length.
"""

import argparse
import asyncio
import random
import statistics
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from antiphon.engine.llama import physical_cores
from antiphon.engine.tokenizer import Tokenizer
from bench import report, step_cost, structured
from bench.client import ask, ask_all
from bench.report import Figure
from bench.servers import Server, antiphon, bundled_model, llama_server

STREAMS: Final = (1, 4, 16)
ANSWER: Final = 96
"""Tokens of every answer whose decoding is timed."""
SYSTEM_TOKENS: Final = 1500
ASKERS: Final = 8
CTX_SIZE: Final = 32768
"""KV cells of the peer: with 8,192 it refuses 8 askers of 1,500 tokens, since it keeps no prefix in common."""


class Bench:
    """The work, and the random words that keep one round's prompts from being another's cached prefixes."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (words of prompts)
        self._bans = {str(token): -100 for token in sorted(tokenizer.eog_ids)}
        self._tokenizer = tokenizer

    def words(self, tokens: int) -> str:
        """Text of about ``tokens`` tokens."""
        text: list[str] = []
        while len(text) < tokens:
            text.append(self._random.choice(step_cost.WORDS))
        return " ".join(text)

    def body(self, messages: list[dict[str, str]], max_tokens: int) -> dict[str, Any]:
        """A request at temperature 0 that never ends early."""
        return {
            "model": "bench",
            "messages": messages,
            "temperature": 0,
            "max_tokens": max_tokens,
            "logit_bias": self._bans,
        }

    async def throughput(self, server: Server, streams: int) -> float:
        """Tokens a second, all streams together, from the request to the last token."""
        bodies = [
            self.body([{"role": "user", "content": f"Write a long story about {self.words(8)}."}], ANSWER)
            for _ in range(streams)
        ]
        samples, seconds = await ask_all(server.port, bodies)
        return sum(sample.completion_tokens for sample in samples) / seconds

    async def first_tokens(self, server: Server, system: str) -> tuple[float, float, float]:
        """Milliseconds to the first token with a long system prompt: cold, repeated alone, and median of 8 at once."""
        cold = await ask(server.port, self._question(system))
        warm = await ask(server.port, self._question(system))
        together, _ = await ask_all(server.port, [self._question(system) for _ in range(ASKERS)])
        crowd = statistics.median(sample.first_token for sample in together)
        return cold.first_token * 1000, warm.first_token * 1000, crowd * 1000

    def _question(self, system: str) -> dict[str, Any]:
        question = {"role": "user", "content": f"In short: {self.words(8)}?"}
        return self.body([{"role": "system", "content": system}, question], 8)


async def measure(bench: Bench, ours: Server, theirs: Server, rounds: int, progress: Progress) -> list[Figure]:
    """Run all the work, both servers in turn, ``rounds`` times after a warm-up."""
    task = progress.add_task("measuring", total=(rounds + 1) * (len(STREAMS) + 1))
    rates: dict[int, tuple[list[float], list[float]]] = {streams: ([], []) for streams in STREAMS}
    times: tuple[list[tuple[float, ...]], list[tuple[float, ...]]] = ([], [])
    for r in range(rounds + 1):
        order = (0, 1) if r % 2 else (1, 0)
        for streams in STREAMS:
            for which in order:
                rate = await bench.throughput((ours, theirs)[which], streams)
                if r:
                    rates[streams][which].append(rate)
            progress.advance(task)
        system = bench.words(SYSTEM_TOKENS)
        for which in order:
            first = await bench.first_tokens((ours, theirs)[which], system)
            if r:
                times[which].append(first)
        progress.advance(task)
    figures = [Figure(f"decode, {n} stream{'s' if n > 1 else ''}", "tokens/s", *rates[n], "≥ 0.97") for n in STREAMS]
    names = ("cold", "cached, one asker", f"cached, {ASKERS} askers at once")
    for column, (name, aim) in enumerate(zip(names, ("", "≤ 0.5", "≤ 0.5"), strict=True)):
        ours_ms, theirs_ms = ([row[column] for row in rows] for rows in times)
        figures.append(Figure(f"first token, 1,500-token system prompt, {name}", "ms", ours_ms, theirs_ms, aim))
    return figures


def main() -> None:
    """Parse the options, measure, print the table and write it with its plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=bundled_model())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    threads, console = physical_cores(), Console()
    tokenizer = Tokenizer.open(options.model)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("our step, without HTTP", total=2 + len(STREAMS))
        costs = []
        for temperature in (0.0, 1.0):
            costs.append(step_cost.measure(options.model, 8, temperature))
            progress.advance(task)
        bare = {}
        for streams in STREAMS:
            bare[streams] = statistics.median(step_cost.bare_loop(options.model, streams) for _ in range(3))
            progress.advance(task)
        compile_times = structured.compile_times(options.model)
        with (
            antiphon(options.model, threads, max(STREAMS)) as ours,
            llama_server(options.model, threads, max(STREAMS), CTX_SIZE) as theirs,
        ):
            bench = Bench(tokenizer, 11)
            figures = asyncio.run(measure(bench, ours, theirs, options.rounds, progress))
            figures += asyncio.run(
                structured.measure(bench.body, ours, theirs, min(options.rounds, report.STRUCTURED_ROUNDS), progress)
            )
    results = report.Results(
        figures, costs, bare, compile_times, theirs.note, options.rounds, threads, Path(options.model).name
    )
    report.show(results, console)
    report.write(results, options.out)


if __name__ == "__main__":
    main()
