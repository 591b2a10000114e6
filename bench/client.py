"""A lean streaming client, so that what is measured is the server: it counts events and decodes only the usage."""

import asyncio
import itertools
import json
import re
import time
from typing import Any, Final

from msgspec import Struct

TIMEOUT: Final = 300.0
"""Seconds for one answer."""
_TEXT: Final = re.compile(rb'"content":"(?!")')
_USAGE: Final = re.compile(rb'^data: (\{.*"usage":\{.*\})\s*$', re.MULTILINE)


class Sample(Struct, frozen=True):
    """One streamed answer. Times are in seconds."""

    first_token: float
    total: float
    gaps: list[float]
    """Between reads that carried text."""
    completion_tokens: int
    prompt_tokens: int
    cached_tokens: int


async def ask(port: int, body: dict[str, Any]) -> Sample:
    """POST a chat completion to loopback and read the stream. Raises ``RuntimeError`` when there is no answer."""
    return await asyncio.wait_for(_ask(port, body), TIMEOUT)


async def _ask(port: int, body: dict[str, Any]) -> Sample:
    payload = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(head.encode() + payload)
    received = bytearray()
    times: list[float] = []
    while data := await reader.read(1 << 16):
        received += data
        if _TEXT.search(data):
            times.append(time.perf_counter() - start)
    writer.close()
    return _sample(bytes(received), times, time.perf_counter() - start)


def _sample(received: bytes, times: list[float], total: float) -> Sample:
    found = _USAGE.findall(received)
    if not found or not times:
        raise RuntimeError(f"no answer: {received[:500]!r}")
    usage = json.loads(found[-1])["usage"]
    return Sample(
        first_token=times[0],
        total=total,
        gaps=[later - earlier for earlier, later in itertools.pairwise(times)],
        completion_tokens=usage["completion_tokens"],
        prompt_tokens=usage["prompt_tokens"],
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
    )


async def ask_all(port: int, bodies: list[dict[str, Any]]) -> tuple[list[Sample], float]:
    """Send all at the same time; return the samples and the seconds until the last ended."""
    start = time.perf_counter()
    samples = await asyncio.gather(*(ask(port, body) for body in bodies))
    return list(samples), time.perf_counter() - start
