"""``antiphon top``: a live view of a server's metrics."""

import time
from collections import deque
from typing import Annotated

import anyio
import httpx2
from rich.console import Console, RenderableType
from rich.live import Live

from antiphon.cli.chat_client import open_client
from antiphon.cli.numeric_options import duration
from antiphon.cli.scrape import Scrape, ScrapeInterval
from antiphon.cli.top_view import view
from antiphon.console import display
from antiphon.console.command_error import CommandError

WINDOW = 60.0
"""Seconds over which latencies and shares are computed."""
TIMEOUT = 10.0
"""Seconds in which the metrics page must arrive."""


def top(
    *,
    url: str = "http://127.0.0.1:8000",
    interval: Annotated[float, duration()] = 2.0,
) -> None:
    """Show a server's queue, streams, tokens, latencies and caches until Ctrl-C.

    Reads the metrics page, which needs no key. If stdout is not a terminal, it prints one snapshot and ends.

    Parameters
    ----------
    url
        The server's address.
    interval
        Seconds between two updates.
    """
    console = display.out()
    try:
        anyio.run(_watch if console.is_terminal else _snapshot, console, url, interval)
    except KeyboardInterrupt:
        return


async def _snapshot(console: Console, url: str, interval: float) -> None:
    """Print the rates of one interval, and the latencies since the server's start."""
    async with open_client(url) as client:
        first = await scrape(client)
        await anyio.sleep(interval)
        last = await scrape(client)
    title = f"{url}, rates of {interval:g} s, latencies since its start"
    console.print(view(ScrapeInterval(first, last), ScrapeInterval(None, last), title=title))


async def _watch(console: Console, url: str, interval: float) -> None:
    async with open_client(url) as client:
        history = History(url, await scrape(client))
        with Live(history.view(), console=console, auto_refresh=False) as live:
            while True:
                await anyio.sleep(interval)
                problem = ""
                try:
                    history.add(await scrape(client))
                except CommandError as error:
                    problem = error.message
                live.update(history.view(problem), refresh=True)


class History:
    """The metrics pages of the last minute."""

    def __init__(self, url: str, first: Scrape) -> None:
        self._url = url
        self._scrapes = deque([first])

    def add(self, scrape: Scrape) -> None:
        """Add a page and drop old ones, except the last that is at least ``WINDOW`` seconds old."""
        self._scrapes.append(scrape)
        while len(self._scrapes) > 2 and scrape.time - self._scrapes[1].time >= WINDOW:  # noqa: PLR2004 (the newest two)
            self._scrapes.popleft()

    def view(self, problem: str = "") -> RenderableType:
        """Render the rates of the last interval and the latencies of all pages, or since the start for one page."""
        oldest, newest = self._scrapes[0], self._scrapes[-1]
        before = self._scrapes[-2] if len(self._scrapes) > 1 else newest
        window = ScrapeInterval(oldest if oldest is not newest else None, newest)
        seconds = newest.time - oldest.time
        period = f"latencies of the last {seconds:.0f} s" if seconds else "latencies since its start"
        title = f"{self._url}, {period}; Ctrl-C ends"
        return view(ScrapeInterval(before, newest), window, title=title, problem=problem)


async def scrape(client: httpx2.AsyncClient) -> Scrape:
    """Fetch the metrics page. Raises :class:`CommandError` when there is none."""
    try:
        response = await client.get("metrics", timeout=TIMEOUT)
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        message = f"{client.base_url} cannot be reached: {reason}"
        raise CommandError(message, "Is the server running? antiphon serve") from error
    if response.is_error:
        message = f"{client.base_url} has no metrics: it answers {response.status_code}."
        raise CommandError(message, "Is it an Antiphon server? Name its address with --url.")
    return Scrape.parse(response.text, time.monotonic())
