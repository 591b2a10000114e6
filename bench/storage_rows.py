"""A database with as many stored completions as one likes: filled by plain SQL, as a server fills it one by one."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]
import msgspec
from msgspec import Struct

from antiphon.protocol.responses import CompletionUsage
from antiphon.protocol.stored import Role, StoredAnswer, StoredChoice, StoredCompletion, StoredMessage, message_id
from antiphon.store.identifiers import random_text
from antiphon.store.schema import DEFAULT_PROJECT, completion_messages, completion_metadata, completions, projects

OTHER_PROJECT: Final = "proj_other"
OTHERS_SHARE: Final = 0.1
"""Of the rows, what the second project has."""
MODELS: Final = ("smollm2-135m-instruct", "large", "larger")
TOPICS: Final = ("billing", "delivery", "returns", "other")
TIERS: Final = ("free", "basic", "team", "business", "enterprise")
CUSTOMERS: Final = 997
START: Final = 1_700_000_000
"""Unix seconds of the oldest row; there are ``PER_SECOND`` rows of each second."""
PER_SECOND: Final = 4
BATCH: Final = 10_000
"""Rows of one transaction."""
SAMPLE: Final = 5_000
"""Ids that are remembered, from which the measured calls draw."""

_TEXT = "The parcel left our warehouse on Tuesday and is due at the address you gave us. "
_ANSWER = (_TEXT * 20)[:1500]
_QUESTION = (_TEXT * 6)[:400]
_ROLES: Final[tuple[Role, ...]] = ("system", "user", "user")
_TABLES = (completions, completion_messages, completion_metadata)
Told = Callable[[int], object]
"""Told how many rows more there are."""


class Filling(Struct):
    """What was filled in: its size, and the ids of some of the default project's completions."""

    rows: int
    sample: list[str]


class Rows:
    """Makes rows; the same seed makes the same."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 (names of rows)

    def new_id(self) -> str:
        """Give an id such as the server gives."""
        return f"chatcmpl-{random_text(29, self._random.randbytes)}"

    def metadata(self) -> dict[str, str]:
        """Give three pairs: one of 4, one of 5 and one of 997 values."""
        return {"topic": self.topic(), "tier": self.tier(), "customer": f"c-{self._random.randrange(CUSTOMERS)}"}

    def topic(self) -> str:
        """Give one of the topics."""
        return self._random.choice(TOPICS)

    def tier(self) -> str:
        """Give one of the tiers."""
        return self._random.choice(TIERS)

    def completion(self, created: int) -> StoredCompletion:
        """Give a completion of about 2 KB."""
        usage = CompletionUsage(prompt_tokens=300, completion_tokens=350, total_tokens=650)
        answer = StoredChoice(index=0, message=StoredAnswer(content=_ANSWER), finish_reason="stop")
        identifier = self.new_id()
        return StoredCompletion(
            id=identifier,
            created=created,
            model=self._random.choice(MODELS),
            request_id=f"req_{identifier[9:]}",
            usage=usage,
            seed=7,
            metadata=self.metadata(),
            choices=[answer],
        )

    def batch(self, first: int, number: int) -> dict[str, list[tuple[Any, ...]]]:
        """Give the rows of a batch of completions, by table."""
        found: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in _TABLES}
        for index in range(first, first + number):
            project = OTHER_PROJECT if self._random.random() < OTHERS_SHARE else DEFAULT_PROJECT
            stored = self.completion(START + index // PER_SECOND)
            pairs = stored.metadata
            body = msgspec.json.encode(msgspec.structs.replace(stored, metadata={})).decode()
            columns = (project, stored.id, stored.created, stored.model, "completed", len(_ROLES))
            found["completions"].append((*columns, msgspec.json.encode(pairs).decode(), body))
            found["completion_messages"] += [
                (project, stored.id, position, msgspec.json.encode(message).decode())
                for position, message in enumerate(conversation(stored.id))
            ]
            found["completion_metadata"] += [
                (project, stored.id, key, value, stored.created) for key, value in pairs.items()
            ]
        return found


def conversation(completion_id: str) -> list[StoredMessage]:
    """Give the messages that a completion answers."""
    return [
        StoredMessage(id=message_id(completion_id, index), role=role, content=_QUESTION)
        for index, role in enumerate(_ROLES)
    ]


def batches(rows: int, told: Told, filling: Filling) -> Iterator[dict[str, list[tuple[Any, ...]]]]:
    """Give all rows; ``told`` hears of each batch, ``filling`` remembers some."""
    made = Rows(seed=f"rows {rows}")
    yield {projects.name: [(OTHER_PROJECT, "Other", START)]}
    each = max(1, rows // SAMPLE)
    for first in range(0, rows, BATCH):
        batch = made.batch(first, min(BATCH, rows - first))
        yield batch
        filling.sample += [row[1] for row in batch["completions"] if row[0] == DEFAULT_PROJECT][::each]
        told(len(batch["completions"]))


def fill_sqlite(path: Path, rows: int, told: Told) -> Filling:
    """Fill an upgraded, empty database; what a loss of power would leave of it does not matter."""
    filling = Filling(rows, [])
    with closing(sqlite3.connect(path)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1500000"):
            connection.execute(f"PRAGMA {pragma}")
        for batch in batches(rows, told, filling):
            for table, records in batch.items():
                marks = ", ".join("?" * len(records[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", records)  # noqa: S608 (our own names)
            connection.commit()
        connection.execute("PRAGMA journal_mode=WAL")
    return filling


async def fill_postgresql(url: str, rows: int, told: Told) -> Filling:
    """Fill an upgraded, empty database, and let it count its rows, as it does by itself after a while."""
    filling = Filling(rows, [])
    connection = await asyncpg.connect(url)
    try:
        for batch in batches(rows, told, filling):
            for table, records in batch.items():
                await connection.copy_records_to_table(table, records=records)
            await asyncio.sleep(0)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return filling
