"""The checks of ``antiphon db check``: the schema, the file, orphaned rows, incomplete and unreadable objects."""

from collections.abc import Iterator
from itertools import groupby

import msgspec
from sqlalchemy import ColumnElement, Connection, ForeignKeyConstraint, Row, and_, func, not_, select, text, tuple_

from antiphon.protocol.stored import StoredCompletion, StoredMessage
from antiphon.store import migration, schema

BATCH = 500
"""Completions that are read at a time."""


def problems(connection: Connection) -> list[str]:
    """Return the problems of the database, a sentence each. Other processes may write meanwhile."""
    if connection.dialect.name == "postgresql":
        # One snapshot for all statements, as in every transaction of SQLite.
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    if version_problem := migration.version_problem(connection):
        return [version_problem]
    return [*_file(connection), *_orphans(connection), *_incomplete(connection), *_contents(connection)]


def _file(connection: Connection) -> Iterator[str]:
    """Yield the findings of SQLite's own check. PostgreSQL checks its files itself."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("PRAGMA integrity_check(20)")).scalars()
        yield from (f"The file is damaged: {line}." for line in found if line != "ok")


def _orphans(connection: Connection) -> Iterator[str]:
    for table in schema.metadata.sorted_tables:
        for key in sorted(table.foreign_key_constraints, key=lambda key: list(key.column_keys)):
            if count := connection.execute(select(func.count()).select_from(table).where(_orphaned(key))).scalar():
                yield f"{count} rows of {table.name} belong to no row of {key.referred_table.name}."


def _orphaned(key: ForeignKeyConstraint) -> ColumnElement[bool]:
    parent = key.referred_table.alias("parent")
    same = (parent.c[element.column.name] == element.parent for element in key.elements)
    return not_(select(1).select_from(parent).where(and_(*same)).exists())


def _incomplete(connection: Connection) -> Iterator[str]:
    completions, messages = schema.completions.c, schema.completion_messages.c
    mine = and_(messages.project_id == completions.project_id, messages.completion_id == completions.id)
    count = select(func.count()).where(mine).scalar_subquery()
    last = select(func.coalesce(func.max(messages.position), -1)).where(mine).scalar_subquery()
    whole = and_(count == completions.message_count, last == completions.message_count - 1)
    found = connection.execute(select(completions.id).where(not_(whole)).limit(20)).scalars()
    yield from (f"Completion {identifier} lacks messages." for identifier in found)


def _contents(connection: Connection) -> Iterator[str]:
    for batch in _batches(connection):
        indexed = _indexed(connection, batch)
        for row in batch:
            yield from _completion(row, indexed.get((row.project_id, row.id), []))
        yield from _messages(connection, batch)


def _batches(connection: Connection) -> Iterator[list[Row[tuple[object, ...]]]]:
    table = schema.completions.c
    key = tuple_(table.project_id, table.id)
    last = ("", "")
    while rows := list(
        connection.execute(select(schema.completions).where(key > last).order_by(*key.clauses).limit(BATCH))
    ):
        yield rows
        last = (rows[-1].project_id, rows[-1].id)


def _indexed(
    connection: Connection, batch: list[Row[tuple[object, ...]]]
) -> dict[tuple[str, str], list[Row[tuple[object, ...]]]]:
    """Return the metadata index rows of a batch, by completion."""
    table = schema.completion_metadata
    key = tuple_(table.c.project_id, table.c.completion_id)
    first, last = batch[0], batch[-1]
    between = and_(key >= (first.project_id, first.id), key <= (last.project_id, last.id))
    rows = connection.execute(select(table).where(between).order_by(*key.clauses))
    return {name: list(group) for name, group in groupby(rows, lambda row: (row.project_id, row.completion_id))}


def _completion(row: Row[tuple[object, ...]], index: list[Row[tuple[object, ...]]]) -> Iterator[str]:
    try:
        stored = msgspec.json.decode(row.body, type=StoredCompletion)
        metadata = msgspec.json.decode(row.metadata, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        yield f"Completion {row.id} cannot be read."
        return
    if (stored.id, stored.created, stored.model) != (row.id, row.created, row.model):
        yield f"Completion {row.id} contradicts its columns."
    if {(entry.key, entry.value, entry.created, entry.stored_at) for entry in index} != {
        (key, value, row.created, row.stored_at) for key, value in metadata.items()
    }:
        yield f"The metadata of completion {row.id} contradicts its index."


def _messages(connection: Connection, batch: list[Row[tuple[object, ...]]]) -> Iterator[str]:
    table = schema.completion_messages
    key = tuple_(table.c.project_id, table.c.completion_id)
    first, last = batch[0], batch[-1]
    between = and_(key >= (first.project_id, first.id), key <= (last.project_id, last.id))
    for row in connection.execute(select(table).where(between)):
        try:
            msgspec.json.decode(row.body, type=StoredMessage)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield f"Message {row.position} of completion {row.completion_id} cannot be read."
