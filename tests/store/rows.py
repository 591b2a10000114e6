"""Objects to store, and a recorder of SQL statements."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from antiphon.protocol.responses import CompletionUsage
from antiphon.protocol.stored import StoredAnswer, StoredChoice, StoredCompletion, StoredMessage, message_id
from antiphon.store.database import Database

PROJECT = "default"
OTHER = "proj_other"
USAGE = CompletionUsage(prompt_tokens=3, completion_tokens=4, total_tokens=7)


class Clock:
    """A clock that tests set."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def completion(
    identifier: str, *, created: int = 1, model: str = "tiny", metadata: dict[str, str] | None = None
) -> StoredCompletion:
    return StoredCompletion(
        id=identifier,
        created=created,
        model=model,
        request_id=f"req_{identifier}",
        usage=USAGE,
        seed=2**63 - 1,
        metadata=metadata or {},
        choices=[StoredChoice(index=0, message=StoredAnswer(content=f"I am {identifier}."), finish_reason="stop")],
    )


def messages(identifier: str, number: int = 1) -> list[StoredMessage]:
    return [
        StoredMessage(id=message_id(identifier, index), role="user", content=f"Message {index}")
        for index in range(number)
    ]


async def add_project(database: Database, identifier: str = OTHER) -> None:
    await database.write(
        lambda connection: connection.exec_driver_sql(
            f"INSERT INTO projects (id, name, created) VALUES ('{identifier}', 'Other', 1)"  # noqa: S608 (a test's)
        )
    )


Statement = tuple[str, Any]


@contextmanager
def recorded(database: Database) -> Iterator[list[Statement]]:
    """Record the block's statements and their parameters."""
    statements: list[Statement] = []

    def note(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:  # noqa: ANN401 (of the driver)
        statements.append((statement, parameters))

    engine = database._engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
