"""Fills a database with any number of stored completions by plain SQL, with the rows that a server would write."""

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
"""Share of the rows that belong to the second project."""
MODELS: Final = ("smollm2-135m-instruct", "large", "larger")
TOPICS: Final = ("billing", "delivery", "returns", "other")
TIERS: Final = ("free", "basic", "team", "business", "enterprise")
CUSTOMERS: Final = 997
START: Final = 1_700_000_000
"""Unix seconds of the oldest row; each second has ``PER_SECOND`` rows."""
PER_SECOND: Final = 4
BATCH: Final = 10_000
"""Rows of one transaction."""
SAMPLE: Final = 5_000
"""Ids that are recorded for the measured calls."""

_TEXT = "The parcel left our warehouse on Tuesday and is due at the address you gave us. "
_ANSWER = (_TEXT * 20)[:1500]
_QUESTION = (_TEXT * 6)[:400]
_ROLES: Final[tuple[Role, ...]] = ("system", "user", "user")
_TABLES = (completions, completion_messages, completion_metadata)
OnBatch = Callable[[int], object]
"""Called with the number of rows of each batch."""


class Filling(Struct):
    """The number of rows, and the ids of some completions of the default project."""

    rows: int
    sample: list[str]


class Rows:
    """Generates rows; the same seed gives the same rows."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 (names of rows)

    def new_id(self) -> str:
        """Return an id in the server's form."""
        return f"chatcmpl-{random_text(29, self._random.randbytes)}"

    def metadata(self) -> dict[str, str]:
        """Return three pairs, of 4, 5 and 997 possible values."""
        return {"topic": self.topic(), "tier": self.tier(), "customer": f"c-{self._random.randrange(CUSTOMERS)}"}

    def topic(self) -> str:
        """Return a random topic."""
        return self._random.choice(TOPICS)

    def tier(self) -> str:
        """Return a random tier."""
        return self._random.choice(TIERS)

    def completion(self, created: int) -> StoredCompletion:
        """Return a completion of about 2 KB."""
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
        """Return the rows of a batch of completions, by table."""
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
    """Return the messages of a completion."""
    return [
        StoredMessage(id=message_id(completion_id, index), role=role, content=_QUESTION)
        for index, role in enumerate(_ROLES)
    ]


def batches(rows: int, on_batch: OnBatch, filling: Filling) -> Iterator[dict[str, list[tuple[Any, ...]]]]:
    """Yield all rows in batches; call ``on_batch`` for each, and record some ids in ``filling``."""
    made = Rows(seed=f"rows {rows}")
    yield {projects.name: [(OTHER_PROJECT, "Other", START)]}
    each = max(1, rows // SAMPLE)
    for first in range(0, rows, BATCH):
        batch = made.batch(first, min(BATCH, rows - first))
        yield batch
        filling.sample += [row[1] for row in batch["completions"] if row[0] == DEFAULT_PROJECT][::each]
        on_batch(len(batch["completions"]))


def fill_sqlite(path: Path, rows: int, on_batch: OnBatch) -> Filling:
    """Fill an upgraded, empty database, without protection against a loss of power."""
    filling = Filling(rows, [])
    with closing(sqlite3.connect(path)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1500000"):
            connection.execute(f"PRAGMA {pragma}")
        for batch in batches(rows, on_batch, filling):
            for table, records in batch.items():
                marks = ", ".join("?" * len(records[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", records)  # noqa: S608 (our own names)
            connection.commit()
        connection.execute("PRAGMA journal_mode=WAL")
    return filling


async def fill_postgresql(url: str, rows: int, on_batch: OnBatch) -> Filling:
    """Fill an upgraded, empty database and update its statistics."""
    filling = Filling(rows, [])
    connection = await asyncpg.connect(url)
    try:
        for batch in batches(rows, on_batch, filling):
            for table, records in batch.items():
                await connection.copy_records_to_table(table, records=records)
            await asyncio.sleep(0)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return filling
