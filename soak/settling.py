"""Compares the server's resources after a run with those before it."""

import asyncio
import re
import time
from typing import Final

from msgspec import Struct

from soak.clients import Soak
from soak.target import Held, Target
from soak.wire import Behaviour, exchange, request_bytes

PATIENCE: Final = 60.0
"""Seconds in which the server must release its resources after the last request."""
MEMORY: Final = 128 << 20
"""Allowed growth of the memory in bytes, for bounded caches and the allocator."""
POOL: Final = 60
"""Allowed growth of descriptors and of threads, for the pools of the database and of rendering."""
GAUGES: Final = ("antiphon:num_requests_running", "antiphon:num_requests_waiting")
OK: Final = 200


class Settled(Struct, frozen=True):
    """The resources before and after a run."""

    before: Held
    after: Held
    gauges: dict[str, float]
    """The requests in the engine, from /metrics; empty without that page."""


async def settle(target: Target, before: Held) -> Settled:
    """Wait until no more is held than before, for at most :data:`PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        after = target.held() or Held(0, 0, 0, 0)
        settled = Settled(before, after, await gauges(target))
        if not problems(settled) or time.monotonic() > deadline:
            return settled
        await asyncio.sleep(1)


def problems(settled: Settled) -> list[str]:
    """Return the resources that were not released."""
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
    """Return the numbers of requests in the engines; empty without a metrics page."""
    reply = await exchange(target.port, request_bytes("GET", "/metrics"), Behaviour())
    if reply.status != OK:
        return {}
    text = reply.body.decode()
    return {name: sum(map(float, re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))) for name in GAUGES}


async def warm_up(soak: Soak) -> Held:
    """Use every part once, so that its caches are filled before the run, and return the resources after that."""
    for _ in range(4):
        await asyncio.gather(*(soak.ask(*soak.mix.draw()) for _ in range(soak.plan.clients)))
    await asyncio.sleep(2)
    held = soak.target.held()
    assert held is not None, "the server runs"
    return held
