"""Commands that work on a database: run in this process, on a database of the test."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import pytest

from antiphon.cli import create_cli
from antiphon.console.command_error import CommandError
from antiphon.store.database import Database
from tests.databases import Site

_T = TypeVar("_T")


def run(site: Site, *arguments: str) -> None:
    """Run a command as ``antiphon`` does. Raises CommandError."""
    where = ["--data-dir", str(site.data_dir)] if site.url is None else ["--database", site.url]
    create_cli()([*arguments, *where])


def output(capsys: pytest.CaptureFixture[str], site: Site, *arguments: str) -> str:
    """Run a command and return its stdout."""
    capsys.readouterr()
    run(site, *arguments)
    return capsys.readouterr().out


def table(capsys: pytest.CaptureFixture[str], site: Site, *arguments: str) -> list[dict[str, str]]:
    """Run a command that prints a table, and return its rows by title."""
    titles, *rows = (line.split("\t") for line in output(capsys, site, *arguments).splitlines())
    return [dict(zip(titles, row, strict=True)) for row in rows]


def refusal(site: Site, *arguments: str) -> str:
    """Run a command that must fail, and return its message and advice."""
    with pytest.raises(CommandError) as caught:
        run(site, *arguments)
    return f"{caught.value.message} {caught.value.advice}".strip()


def on_database(site: Site, work: Callable[[Database], Awaitable[_T]]) -> _T:
    """Run ``work`` on the database and return its result."""

    async def opened() -> _T:
        async with site.open() as database:
            return await work(database)

    return anyio.run(opened)
