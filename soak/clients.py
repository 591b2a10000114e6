"""The run: clients send random requests until the time or the number of requests is used up, and check the answers."""

import asyncio
import json
import random
import time
from typing import Final

from msgspec import Struct, field

from soak.faults import Faults
from soak.invariants import Request, violations
from soak.ledger import Ledger, LedgerEntry, compare
from soak.mix import PATH, WEIGHTS, Mix
from soak.tally import Sample, Tally
from soak.target import Target
from soak.wire import Behaviour, Reply, exchange, request_bytes

BURST: Final = 40
"""Requests of a burst."""
BURST_CHANCE: Final = 0.02
SAMPLE_SECONDS: Final = 1.0
PAGE: Final = 100
"""Stored completions of a page."""
OK: Final = 200
GONE: Final = 404


class Plan(Struct, frozen=True, kw_only=True):
    """The limits and settings of a run."""

    seconds: float
    clients: int
    max_requests: int = 200_000
    seed: int = 0
    fault_every: float | None = 20.0
    """Mean seconds between two faults; None: no faults."""
    weights: dict[str, int] = field(default_factory=WEIGHTS.copy)
    """Relative frequency of each kind of request."""


class Soak:
    """One run against one target."""

    def __init__(self, target: Target, plan: Plan) -> None:
        self.target = target
        self.plan = plan
        self.tally = Tally()
        self.ledger = Ledger()
        rng = random.Random(plan.seed)  # noqa: S311 (nothing secret)
        self._rng = rng
        self.mix = Mix(rng, target.model, self.ledger, max_body_size=target.max_body_size, weights=plan.weights)
        self.faults = Faults(target, rng, self.mix, every=plan.fault_every or plan.seconds)
        self.in_flight = 0
        self.began = 0.0

    @property
    def deadline(self) -> float:
        """The monotonic time after which no request is sent."""
        return self.began + self.plan.seconds

    async def run(self) -> None:
        """Send requests and inject faults; check all stored completions at the end."""
        self.began = time.monotonic()
        sampling = asyncio.create_task(self._sample())
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self.plan.clients):
                    tasks.create_task(self._client())
                if self.plan.fault_every is not None:
                    tasks.create_task(self.faults.run(self.deadline))
            lost = [f"recovery: none from {fault.kind}" for fault in self.faults.all if fault.recovered is None]
            self.tally.object_to(lost)
            await self.verify()
        finally:
            sampling.cancel()

    async def _client(self) -> None:
        while time.monotonic() < self.deadline and self.tally.requests < self.plan.max_requests:
            if self._rng.random() < BURST_CHANCE:
                await asyncio.gather(*(self.ask(self.mix.small("burst")) for _ in range(BURST)))
            else:
                await self.ask(*self.mix.draw())

    async def ask(self, request: Request, about: LedgerEntry | None = None) -> Reply | None:
        """Send one request, check its answer and return it, or None after a timeout."""
        self.in_flight += 1
        try:
            reply = await exchange(
                self.target.port, request_bytes(request.method, request.path, request.body), request.behaviour
            )
        except TimeoutError:
            self.tally.object_to([f"liveness: {request.kind} was not answered"])
            return None
        finally:
            self.in_flight -= 1
        self.judge(request, reply, about)
        return reply

    def judge(self, request: Request, reply: Reply, about: LedgerEntry | None = None) -> None:
        """Count an exchange and record the invariants that it breaks."""
        self.tally.count(request, reply)
        if request.behaviour.stays:
            excused = self.faults.excuse(reply.began, reply.ended, stores=request.stores)
            found = violations(request, reply, excused=excused)
            self.ledger.acknowledge(request, reply)
            if about is not None:
                found += self.ledger.follow(about, request, reply)
            self.tally.object_to([f"{text} [{request.kind}]" for text in found])
        if about is not None:
            self.ledger.give_back(about)

    async def verify(self) -> None:
        """Check that acknowledged completions are stored and listed, and that deleted ones are gone."""
        for kept in self.ledger.kept:
            reply = await self._get(f"{PATH}/{kept.id}")
            found = f"lost: {kept.id} is answered with {reply.status}"
            self.tally.object_to(compare(kept, reply.body) if reply.status == OK else [found])
        for kept in self.ledger.deleted:
            reply = await self._get(f"{PATH}/{kept.id}")
            self.tally.object_to([] if reply.status == GONE else [f"deleted: {kept.id} came back: {reply.status}"])
        listed = await self._listed()
        missing = [kept.id for kept in self.ledger.kept if kept.id not in listed]
        self.tally.object_to([f"lost: {identifier} is not listed" for identifier in missing])

    async def _listed(self) -> set[str]:
        found: set[str] = set()
        after = ""
        while True:
            page = json.loads((await self._get(f"{PATH}?limit={PAGE}{after}")).body)
            found |= {entry["id"] for entry in page["data"]}
            if not page["has_more"]:
                return found
            after = f"&after={page['last_id']}"

    async def _get(self, path: str) -> Reply:
        return await exchange(self.target.port, request_bytes("GET", path), Behaviour())

    async def _sample(self) -> None:
        while True:
            self.take_sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    def take_sample(self) -> None:
        """Record the figures of this moment."""
        tally, seconds = self.tally, time.monotonic() - self.began
        memory = self.target.memory()
        tally.samples.append(Sample(seconds, tally.requests, tally.tokens, tally.refusals, memory))
