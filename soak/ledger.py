"""What the server has acknowledged to keep, to be asked for again at the end: nothing of it may be lost or changed."""

import json
import random
from typing import Any

import msgspec
from msgspec import Struct

from soak.invariants import Asked, Said, answer_id, contents, succeeded, whole_message
from soak.wire import Reply

OK = 200
GONE = 404


class Kept(Struct, kw_only=True):
    """One stored completion as its client knows it."""

    id: str
    said: list[Said]
    metadata: dict[str, str]
    stored: bytes | None = None
    """The stored object as it was last read, byte for byte."""
    deleted: bool = False


class Ledger:
    """The stored completions that were acknowledged. One that is borrowed is nobody else's until it is given back."""

    def __init__(self) -> None:
        self._free: dict[str, Kept] = {}
        self.deleted: list[Kept] = []
        self.acknowledged = 0
        """Answers that were stored, all together."""

    @property
    def kept(self) -> list[Kept]:
        """Those that must be there."""
        return list(self._free.values())

    def acknowledge(self, asked: Asked, reply: Reply) -> None:
        """Note an answer, if it was to be stored and its end was told."""
        if asked.fields.get("store") and succeeded(asked, reply):
            identifier = answer_id(asked, reply)
            metadata = asked.fields.get("metadata", {})
            self._free[identifier] = Kept(id=identifier, said=contents(asked, reply), metadata=metadata)
            self.acknowledged += 1

    def borrow(self, rng: random.Random) -> Kept | None:
        """Take one out, or None when there is none."""
        if not self._free:
            return None
        return self._free.pop(rng.choice(list(self._free)))

    def give_back(self, kept: Kept) -> None:
        """Put a borrowed one back."""
        if kept.deleted:
            self.deleted.append(kept)
        else:
            self._free[kept.id] = kept

    @staticmethod
    def follow(kept: Kept, asked: Asked, reply: Reply) -> list[str]:
        """Follow what was done to a stored completion; return what is not as it must be."""
        if reply.status != OK:
            return [f"lost: {kept.id} was acknowledged and is not found"] if reply.status == GONE else []
        if asked.kind == "delete":
            kept.deleted = True
        elif asked.kind == "update":
            kept.metadata = json.loads(asked.body)["metadata"]
            kept.stored = None
            return compare(kept, reply.body)
        elif asked.kind == "retrieve":
            return compare(kept, reply.body)
        return []


def compare(kept: Kept, body: bytes) -> list[str]:
    """Say how a stored completion differs from what was acknowledged; remember its bytes."""
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
