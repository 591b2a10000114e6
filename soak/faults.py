"""Injects faults into a running server, one at a time, and measures the recovery."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from anyio import to_thread
from msgspec import Struct

from soak.mix import Mix
from soak.target import Target
from soak.wire import exchange, request_bytes

Kind = Literal["engine killed", "engine aborted", "engine paused", "engine stopped", "database locked"]
KINDS: Final[tuple[Kind, ...]] = (
    "engine killed",
    "engine aborted",
    "engine paused",
    "database locked",
    "engine killed",
    "database locked",
    "engine stopped",
)
"""The repeated order of the faults. A stopped engine is detected after a minute, by its missing heartbeat."""
RECOVERY: Final = 150.0
"""Seconds within which the server must answer again."""
PROBE: Final = 0.25
"""Seconds between two probes."""
OK: Final = 200


class Fault(Struct, kw_only=True):
    """One fault. Times are in seconds of a monotonic clock."""

    kind: Kind
    began: float
    recovered: float | None = None
    """The time of the first complete answer after the fault; None: not yet, or never."""

    @property
    def seconds(self) -> float:
        """Seconds from the fault to the recovery; infinite without a recovery."""
        return float("inf") if self.recovered is None else self.recovered - self.began


class Faults:
    """Injects faults and knows which errors they excuse."""

    def __init__(self, target: Target, rng: random.Random, probe: Mix, *, every: float) -> None:
        """``every``: mean seconds between a recovery and the next fault."""
        self._target = target
        self._rng = rng
        self._probe = probe
        self._every = every
        self.all: list[Fault] = []

    def excuse(self, began: float, ended: float, *, stores: bool) -> bool:
        """Return whether a fault between these times may have failed such a request."""
        return any(
            fault.began <= ended
            and (fault.recovered is None or began <= fault.recovered)
            and (stores or fault.kind != "database locked")
            for fault in self.all
        )

    async def run(self, until: float) -> None:
        """Inject one fault after the other, the last before ``until``, and wait for each recovery."""
        turn = 0
        while (pause := self._every * self._rng.uniform(0.5, 1.5)) + time.monotonic() < until:
            await asyncio.sleep(pause)
            await self.inject(KINDS[turn % len(KINDS)])
            turn += 1

    async def inject(self, kind: Kind) -> None:
        """Inject a fault and wait for the recovery, for at most :data:`RECOVERY` seconds."""
        fault = Fault(kind=kind, began=time.monotonic())
        self.all.append(fault)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECOVERY):
                await _ACTIONS[kind](self._target, self._rng)
                await self._until_answered()
                fault.recovered = time.monotonic()

    async def _until_answered(self) -> None:
        """Send requests until one has a complete answer."""
        request = self._probe.small("probe")
        while True:
            reply = await exchange(
                self._target.port, request_bytes("POST", request.path, request.body), request.behaviour
            )
            if reply.status == OK and reply.complete and reply.body.endswith(b"data: [DONE]\n\n"):
                return
            await asyncio.sleep(PROBE)


async def _kill(target: Target, number: signal.Signals) -> None:
    pid = target.worker()
    if pid is None:
        return
    os.kill(pid, number)
    while target.worker() == pid:  # noqa: ASYNC110 (no event signals the end of another process's child)
        await asyncio.sleep(PROBE)


async def _killed(target: Target, _rng: random.Random) -> None:
    await _kill(target, signal.SIGKILL)


async def _aborted(target: Target, _rng: random.Random) -> None:
    await _kill(target, signal.SIGABRT)


async def _stopped(target: Target, _rng: random.Random) -> None:
    await _kill(target, signal.SIGSTOP)


async def _paused(target: Target, rng: random.Random) -> None:
    pid = target.worker()
    if pid is None:
        return
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(rng.uniform(1, 6))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _locked(target: Target, rng: random.Random) -> None:
    """Hold SQLite's write lock, as a long transaction of another process does."""
    if target.database is None:
        return
    path, seconds = target.database, rng.uniform(2, 12)

    def hold() -> None:
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    await to_thread.run_sync(hold)


_ACTIONS: Final[dict[Kind, Callable[[Target, random.Random], Awaitable[None]]]] = {
    "engine killed": _killed,
    "engine aborted": _aborted,
    "engine paused": _paused,
    "engine stopped": _stopped,
    "database locked": _locked,
}
