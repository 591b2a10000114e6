"""Whether everything came back: what the server holds after a run, beside what it held before."""

import asyncio
import re
import time
from typing import Final

from msgspec import Struct

from soak.clients import Soak
from soak.target import Held, Target
from soak.wire import Manner, exchange, request_bytes

PATIENCE: Final = 60.0
"""Seconds that the server has to let go of everything after the last request."""
MEMORY: Final = 128 << 20
"""Bytes that the process may have grown by: caches that are bounded, and what an allocator keeps."""
POOL: Final = 60
"""Descriptors, and threads, that pools may have opened since: of the database, and for rendering."""
GAUGES: Final = ("antiphon:num_requests_running", "antiphon:num_requests_waiting")
OK: Final = 200


class Settled(Struct, frozen=True):
    """Before and after."""

    before: Held
    after: Held
    gauges: dict[str, float]
    """What /metrics says of requests in the engine, where there is such a page."""


async def settle(target: Target, before: Held) -> Settled:
    """Wait until nothing more is held than before, for a while at most."""
    deadline = time.monotonic() + PATIENCE
    while True:
        after = target.held() or Held(0, 0, 0, 0)
        settled = Settled(before, after, await gauges(target))
        if not problems(settled) or time.monotonic() > deadline:
            return settled
        await asyncio.sleep(1)


def problems(settled: Settled) -> list[str]:
    """Say what did not come back."""
    before, after = settled.before, settled.after
    found = [f"left: {name} is {value:g}" for name, value in settled.gauges.items() if value]
    if after.sockets > before.sockets:
        found.append(f"left: {after.sockets} sockets, {before.sockets} before")
    if after.descriptors > before.descriptors + POOL:
        found.append(f"left: {after.descriptors} descriptors, {before.descriptors} before")
    if after.threads > before.threads + POOL:
        found.append(f"left: {after.threads} threads, {before.threads} before")
    if after.rss > before.rss + MEMORY:
        found.append(f"left: {after.rss >> 20} MiB of memory, {before.rss >> 20} before")
    return found


async def gauges(target: Target) -> dict[str, float]:
    """Read what the server says of the requests in its engines; empty when it says nothing."""
    reply = await exchange(target.port, request_bytes("GET", "/metrics"), Manner())
    if reply.status != OK:
        return {}
    text = reply.body.decode()
    return {name: sum(map(float, re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))) for name in GAUGES}


async def warm_up(soak: Soak) -> Held:
    """Have every part used once, so that what it keeps is there before the run; return what is held then."""
    for _ in range(4):
        await asyncio.gather(*(soak.ask(*soak.mix.draw()) for _ in range(soak.plan.clients)))
    await asyncio.sleep(2)
    held = soak.target.held()
    assert held is not None, "the server runs"
    return held
