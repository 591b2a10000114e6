"""The completions that the server acknowledged as stored: none may be lost or changed by the end of the run."""

import json
import random
from typing import Any

import msgspec
from msgspec import Struct

from soak.invariants import ChoiceContent, Request, answer_id, contents, succeeded, whole_message
from soak.wire import Reply

OK = 200
GONE = 404


class LedgerEntry(Struct, kw_only=True):
    """One stored completion, as its client knows it."""

    id: str
    said: list[ChoiceContent]
    metadata: dict[str, str]
    stored: bytes | None = None
    """The bytes of the stored object when it was last read."""
    deleted: bool = False


class Ledger:
    """The acknowledged completions. A borrowed one cannot be borrowed again until it is given back."""

    def __init__(self) -> None:
        self._free: dict[str, LedgerEntry] = {}
        self.deleted: list[LedgerEntry] = []
        self.acknowledged = 0
        """Number of stored answers."""

    @property
    def kept(self) -> list[LedgerEntry]:
        """The completions that must be stored."""
        return list(self._free.values())

    def acknowledge(self, request: Request, reply: Reply) -> None:
        """Add an answer with ``store: true`` that was complete."""
        if request.fields.get("store") and succeeded(request, reply):
            identifier = answer_id(request, reply)
            metadata = request.fields.get("metadata", {})
            self._free[identifier] = LedgerEntry(id=identifier, said=contents(request, reply), metadata=metadata)
            self.acknowledged += 1

    def borrow(self, rng: random.Random) -> LedgerEntry | None:
        """Remove a random completion and return it, or None."""
        if not self._free:
            return None
        return self._free.pop(rng.choice(list(self._free)))

    def give_back(self, kept: LedgerEntry) -> None:
        """Return a borrowed completion to the ledger."""
        if kept.deleted:
            self.deleted.append(kept)
        else:
            self._free[kept.id] = kept

    @staticmethod
    def follow(kept: LedgerEntry, request: Request, reply: Reply) -> list[str]:
        """Apply an operation on a stored completion, and return the problems of its reply."""
        if reply.status != OK:
            return [f"lost: {kept.id} was acknowledged and is not found"] if reply.status == GONE else []
        if request.kind == "delete":
            kept.deleted = True
        elif request.kind == "update":
            kept.metadata = json.loads(request.body)["metadata"]
            kept.stored = None
            return compare(kept, reply.body)
        elif request.kind == "retrieve":
            return compare(kept, reply.body)
        return []


def compare(kept: LedgerEntry, body: bytes) -> list[str]:
    """Return the differences between a stored completion and the acknowledged one; record its bytes."""
    if kept.stored is not None and kept.stored != body:
        return [f"lost: {kept.id} was {kept.stored[:200]!r} and is {body[:200]!r}"]
    kept.stored = body
    stored: dict[str, Any] = json.loads(body)
    said = [msgspec.structs.astuple(whole_message(choice)) for choice in stored["choices"]]
    expected = [msgspec.structs.astuple(choice) for choice in kept.said]
    if expected != said:
        return [f"lost: {kept.id} said {expected} and is stored as {said}"]
    if kept.metadata != (stored["metadata"] or {}):
        return [f"lost: {kept.id} had the metadata {kept.metadata} and has {stored['metadata']}"]
    return []
