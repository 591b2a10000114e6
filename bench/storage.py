"""`make bench-storage`: the times of stored completions' operations, by the number of rows, up to a million.

All databases are open at once, and every call runs on each of them in turn, so that other load on the machine slows all
alike. Read the ratio between the sizes. A call is one of ``CompletionStore``, without HTTP.
"""

import argparse
import asyncio
import math
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]
from msgspec import Struct
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from antiphon.protocol.stored_queries import CompletionQuery
from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.schema import DEFAULT_PROJECT
from bench.storage_rows import START, Filling, Rows, conversation, fill_postgresql, fill_sqlite

CALLS: Final = 200
WARM_UP: Final = 20
"""Calls before the measurement, which compile statements and read pages."""
AIM: Final = 1.5


class Site(Struct):
    """One database, with a random choice of its rows."""

    store: CompletionStore
    filling: Filling
    rows: Rows
    random: random.Random

    def some_id(self) -> str:
        """Return the id of a random stored completion."""
        return self.random.choice(self.filling.sample)


def first_page(site: Site) -> Awaitable[object]:
    """List a page of 20, the newest first."""
    return site.store.list(DEFAULT_PROJECT, CompletionQuery(order="desc"))


def deep_page(site: Site) -> Awaitable[object]:
    """List the page after a random completion."""
    return site.store.list(DEFAULT_PROJECT, CompletionQuery(order="desc", after=site.some_id()))


def filtered_page(site: Site) -> Awaitable[object]:
    """List a page of the completions with one metadata pair."""
    query = CompletionQuery(order="desc", metadata={"topic": site.rows.topic()})
    return site.store.list(DEFAULT_PROJECT, query)


def twice_filtered_page(site: Site) -> Awaitable[object]:
    """List a page of the completions with two metadata pairs, a twentieth of all."""
    query = CompletionQuery(order="desc", metadata={"topic": site.rows.topic(), "tier": site.rows.tier()})
    return site.store.list(DEFAULT_PROJECT, query)


def retrieve(site: Site) -> Awaitable[object]:
    """Retrieve one completion by its id."""
    return site.store.get(DEFAULT_PROJECT, site.some_id())


def insert(site: Site) -> Awaitable[object]:
    """Store a new completion with 3 messages and 3 pairs, synced to the disk."""
    stored = site.rows.completion(START + site.filling.rows)
    return site.store.save(DEFAULT_PROJECT, stored, conversation(stored.id))


OPERATIONS: Final[dict[str, Callable[[Site], Awaitable[object]]]] = {
    "first page": first_page,
    "deep page": deep_page,
    "metadata filter": filtered_page,
    "two filters": twice_filtered_page,
    "retrieve": retrieve,
    "insert": insert,
}


class Figure(Struct, frozen=True):
    """Milliseconds of one operation, by the number of rows, the smallest first."""

    operation: str
    times: dict[int, list[float]]

    def percentile(self, rows: int, share: float) -> float:
        """Return a percentile of the times by the nearest rank."""
        ordered = sorted(self.times[rows])
        return ordered[math.ceil(share * len(ordered)) - 1]

    def ratio(self, share: float) -> float:
        """Return the ratio of a percentile with the most rows to that with the fewest."""
        sizes = list(self.times)
        return self.percentile(sizes[-1], share) / self.percentile(sizes[0], share)


async def measure(sites: dict[int, Site], calls: int, progress: Progress) -> list[Figure]:
    """Run every call on all databases in turn; the first database changes with each call."""
    figures = [Figure(operation, {rows: [] for rows in sites}) for operation in OPERATIONS]
    task = progress.add_task("measuring", total=WARM_UP + calls)
    order = list(sites)
    for call in range(WARM_UP + calls):
        for figure in figures:
            for rows in order:
                start = time.perf_counter()
                await OPERATIONS[figure.operation](sites[rows])
                if call >= WARM_UP:
                    figure.times[rows].append((time.perf_counter() - start) * 1000)
        order.append(order.pop(0))
        progress.advance(task)
    return figures


@asynccontextmanager
async def sqlite_site(rows: int, folder: Path, progress: Progress) -> AsyncGenerator[Site, None]:
    """Fill a database in a new folder and open it."""
    data_dir = folder / str(rows)
    task = progress.add_task(f"filling in {rows:,} rows", total=rows)
    database = await Database.open(None, data_dir=data_dir)
    await database.upgrade()
    await database.close()
    filling = await asyncio.to_thread(
        fill_sqlite, data_dir / DATABASE_FILE, rows, lambda number: progress.advance(task, number)
    )
    database = await Database.open(None, data_dir=data_dir)
    try:
        yield _site(database, filling)
    finally:
        await database.close()


@asynccontextmanager
async def postgresql_site(rows: int, url: str, progress: Progress) -> AsyncGenerator[Site, None]:
    """Fill a new database of the server and open it; drop it at the end."""
    name = f"antiphon_bench_{os.getpid()}_{rows}"
    task = progress.add_task(f"filling in {rows:,} rows", total=rows)
    await _command(url, f'CREATE DATABASE "{name}"')
    try:
        parts = urlsplit(url)
        own = f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"
        database = await Database.open(own, data_dir=Path())
        try:
            await database.upgrade()
            filling = await fill_postgresql(own, rows, lambda number: progress.advance(task, number))
            yield _site(database, filling)
        finally:
            await database.close()
    finally:
        await _command(url, f'DROP DATABASE "{name}"')


def _site(database: Database, filling: Filling) -> Site:
    return Site(CompletionStore(database), filling, Rows(seed=f"calls {filling.rows}"), random.Random(filling.rows))  # noqa: S311


async def _command(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def run(sizes: list[int], calls: int, url: str | None, console: Console) -> list[Figure]:
    """Fill all databases and measure the operations."""
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        async with AsyncExitStack() as stack:
            sites = {}
            for rows in sizes:
                site = (
                    sqlite_site(rows, Path(folder), progress) if url is None else postgresql_site(rows, url, progress)
                )
                sites[rows] = await stack.enter_async_context(site)
            return await measure(sites, calls, progress)


def lines(figures: list[Figure]) -> list[list[str]]:
    """Return the table: its titles, then a line for each operation."""
    sizes = list(figures[0].times)
    titles = ["p50 / p99, ms", *(f"{rows:,} rows" for rows in sizes), "p50 ratio", "p99 ratio"]
    found = [titles]
    for figure in figures:
        cells = [f"{figure.percentile(rows, 0.5):.2f} / {figure.percentile(rows, 0.99):.2f}" for rows in sizes]
        found.append([figure.operation, *cells, f"{figure.ratio(0.5):.2f}", f"{figure.ratio(0.99):.2f}"])
    return found


def page(figures: list[Figure], database: str) -> str:
    """Return the page in Markdown."""
    titles, *rows = lines(figures)
    table = [titles, ["---"] * len(titles), *rows]
    calls = len(next(iter(figures[0].times.values())))
    text = [
        "# Benchmark of stored completions",
        "",
        "Written by `make bench-storage`. Read the ratios, the time with the most rows over that with the fewest:",
        f"absolute figures depend on the machine. The aim is a ratio below {AIM}.",
        "",
        f"{database}, {os.cpu_count()} processors, {calls} calls of each kind on each database, all databases in turn.",
        "A completion has about 2 KB, 3 messages and 3 metadata pairs; a page has 20 completions. One filter selects a",
        "quarter of all, two filters a twentieth. An insert is synced to the disk.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in table),
    ]
    return "\n".join([*text, ""])


def show(figures: list[Figure], database: str, console: Console) -> None:
    """Print the table."""
    titles, *rows = lines(figures)
    table = Table(*titles, title=f"{database}; aim of the ratios: < {AIM}")
    for cells in rows:
        table.add_row(*cells)
    console.print(table)


def main() -> None:
    """Parse the options, measure, and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="1000,100000,1000000", help="separated by commas")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--database", help="postgresql://... of a server that allows new databases; default: SQLite")
    parser.add_argument("--out", type=Path, help="the page; default: docs/benchmark-storage.md or ...-postgresql.md")
    options = parser.parse_args()
    sizes, console = sorted(int(text) for text in options.rows.split(",")), Console()
    figures = asyncio.run(run(sizes, options.calls, options.database, console))
    name = f"SQLite {sqlite3.sqlite_version}" if options.database is None else "PostgreSQL"
    default = "docs/benchmark-storage.md" if options.database is None else "docs/benchmark-storage-postgresql.md"
    show(figures, name, console)
    (options.out or Path(default)).write_text(page(figures, name), encoding="utf-8")


if __name__ == "__main__":
    main()
