"""The cost of our own code without a model: requests and chunks per second of the API process's processor time.

The baseline is a server with HTTP only, over the same library and with the same client (:mod:`bench.bare_server`).
"""

import os
import sys
import tempfile
import time
from typing import Any, Final

from msgspec import Struct

from antiphon.load_testing.figures import Aim
from antiphon.load_testing.load import LoadError
from bench.api_load import load
from bench.memory import anonymous_memory, cpu_seconds
from bench.rows import Found, Line, Round, Row
from bench.servers import MODEL_NAME, Command, Kind, Server

REQUESTS: Final = 10_000
WARM_UP: Final = 1_000
"""Requests before the measurement."""
STREAMS: Final = 128
STREAM_TOKENS: Final = 400
CONNECTIONS: Final = 16
QUICK_SHARE: Final = 50
"""A quick run sends this fraction of the requests: one fiftieth."""
PER_SECOND: Final = 2_000.0
CHUNKS_PER_SECOND: Final = 50_000.0
BARE: Final = "bare uvicorn"
GROWTH: Final = 2.0
"""Megabytes; less growth of the memory counts as none."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Cost(Struct, frozen=True):
    """The cost of some requests."""

    per_core: float
    """Requests, or chunks, per second of the API process's processor time."""
    per_second: float
    client_share: float
    """The client's processor time as a share of the time: near 1 the client was the bottleneck."""


class Costs(Struct, frozen=True):
    """The costs of one server."""

    requests: Cost
    chunks: Cost
    growth: float
    """Growth of the anonymous memory during the requests, in megabytes."""


def row(*, quick: bool) -> Row:
    """Return the row of the API's own cost."""
    part = QUICK_SHARE if quick else 1
    lines = (
        Line("requests a second per core, scripted engine", "requests/s", aim=Aim(">=", PER_SECOND, "figure")),
        Line("requests a second per core, of a bare server", "requests/s", baseline=BARE),
        Line("requests a second, client, API and engine on the same machine", "requests/s"),
        Line(
            "streamed chunks a second per core, scripted engine", "chunks/s", aim=Aim(">=", CHUNKS_PER_SECOND, "figure")
        ),
        Line("streamed chunks a second per core, of a bare server", "chunks/s", baseline=BARE),
        Line("streamed chunks a second, client, API and engine on the same machine", "chunks/s"),
        Line("processor time of the client, as a share of the time", "%"),
        Line(
            f"growth of the API process over {REQUESTS // part:,} requests, anonymous",
            "MB",
            aim=Aim("<=", GROWTH, "figure"),
        ),
    )
    return Row("api", lines, _run, max_rounds=1)


async def _run(turn: Round) -> list[Found]:
    part = QUICK_SHARE if turn.site.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        ours = await _served(_scripted(turn.site.model, folder), part)
    bare = await _served(Kind(BARE, "", _bare(STREAM_TOKENS // part)), part)
    requests, chunks = ours.requests, ours.chunks
    return [
        (requests.per_core, None),
        (requests.per_core, bare.requests.per_core),
        (requests.per_second, None),
        (chunks.per_core, None),
        (chunks.per_core, bare.chunks.per_core),
        (chunks.per_second, None),
        (chunks.client_share, None),
        (ours.growth, None),
    ]


def _scripted(model: str, data_dir: str) -> Kind:
    def command(port: int) -> list[str]:
        options = ["--model", f"{MODEL_NAME}={model}", "--port", str(port), "--data-dir", data_dir]
        return [sys.executable, "-m", "bench.scripted_core", "serve", *options, "--log-level", "warning"]

    return Kind("antiphon over a scripted engine", "", command)


def _bare(events: int) -> Command:
    return lambda port: [sys.executable, "-m", "bench.bare_server", str(port), str(events)]


async def _served(kind: Kind, part: int) -> Costs:
    server = Server(kind).start()
    try:
        await _cost(server, WARM_UP // part, tokens=1, stream=False)
        before = anonymous_memory(server.pid)
        requests = await _cost(server, REQUESTS // part, tokens=1, stream=False)
        growth = anonymous_memory(server.pid) - before
        streams = max(CONNECTIONS, STREAMS // part)
        chunks = await _cost(server, streams, tokens=STREAM_TOKENS // part, stream=True)
        return Costs(requests, chunks, growth)
    finally:
        server.close()


async def _cost(server: Server, requests: int, *, tokens: int, stream: bool) -> Cost:
    messages = [{"role": "user", "content": "Write one sentence about the sea."}]
    body: dict[str, Any] = {"model": MODEL_NAME, "messages": messages, "max_tokens": tokens, "stream": stream}
    cpu, own, start = cpu_seconds(server.pid, _TICKS), time.process_time(), time.perf_counter()
    count = await load(server.port, body, requests, CONNECTIONS)
    seconds = time.perf_counter() - start
    if count.requests != requests:
        raise LoadError(f"{requests - count.requests} of {requests} requests failed")
    number = count.chunks if stream else count.requests
    used = cpu_seconds(server.pid, _TICKS) - cpu
    return Cost(number / max(used, 1 / _TICKS), number / seconds, (time.process_time() - own) / seconds)
