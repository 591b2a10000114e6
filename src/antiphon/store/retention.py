"""Deletion of stored completions, one by one or by age and count.

The key (created, stored_at, id) of a deleted completion is kept for a day as a tombstone: a client that has deleted a
page can still ask for the next one.
"""

import math
from functools import partial

from sqlalchemy import ColumnElement, Connection, and_, delete, select, tuple_

from antiphon.store.database import Database
from antiphon.store.engines import insert
from antiphon.store.schema import completions, deleted_completions, projects

BATCH = 100
"""Completions that one transaction deletes; it takes some milliseconds."""
ORDER = (completions.c.created, completions.c.stored_at, completions.c.id)
"""The order of a project's completions, which their index has."""
TOMBSTONE_LIFETIME = 24 * 3600
"""Seconds that the tombstone of a deleted completion is kept."""


def delete_completions(connection: Connection, condition: ColumnElement[bool], now: int) -> int:
    """Delete the completions that match ``condition``, with all their parts; return their number."""
    key = (completions.c.project_id, completions.c.id, completions.c.created, completions.c.stored_at)
    rows = connection.execute(delete(completions).where(condition).returning(*key)).all()
    if rows:
        tombstones = [dict(row._mapping, deleted_at=now) for row in rows]  # noqa: SLF001 (SQLAlchemy's public name)
        _purge_tombstones(connection, now)
        statement = insert(connection, deleted_completions)
        new = {name: statement.excluded[name] for name in ("created", "stored_at", "deleted_at")}
        connection.execute(statement.on_conflict_do_update(index_elements=["project_id", "id"], set_=new), tombstones)
    return len(rows)


def _purge_tombstones(connection: Connection, now: int) -> None:
    """Delete old tombstones: up to twice as many as one batch adds, so that they do not accumulate."""
    table = deleted_completions.c
    key = tuple_(table.project_id, table.id)
    old = select(table.project_id, table.id).where(table.deleted_at < now - TOMBSTONE_LIFETIME).limit(2 * BATCH)
    connection.execute(delete(deleted_completions).where(key.in_(old)))


async def prune(database: Database, *, now: int, max_age: float | None, max_count: int | None) -> int:
    """Delete completions by age and by count, in batches; return their number."""
    total = 0
    for project in await database.read(lambda connection: connection.execute(select(projects.c.id)).scalars().all()):
        surplus = await database.read(partial(_surplus, project=project, now=now, max_age=max_age, max_count=max_count))
        if surplus is not None:
            while deleted := await database.write(partial(_prune_batch, surplus=surplus, now=now), urgent=True):
                total += deleted
    return total


def _surplus(
    connection: Connection, *, project: str, now: int, max_age: float | None, max_count: int | None
) -> ColumnElement[bool] | None:
    """Return the condition of a project's surplus completions, or None. It is one range at one end of an index."""
    key = ORDER
    mine = completions.c.project_id == project
    cutoff = None if max_age is None else math.ceil(now - max_age)
    newest = None
    if max_count is not None:
        descending = select(*key).where(mine).order_by(*(column.desc() for column in key))
        newest = connection.execute(descending.offset(max_count).limit(1)).one_or_none()
    if newest is not None and (cutoff is None or newest.created >= cutoff):
        return and_(mine, tuple_(*key) <= tuple(newest))
    return None if cutoff is None else and_(mine, completions.c.created < cutoff)


def _prune_batch(connection: Connection, *, surplus: ColumnElement[bool], now: int) -> int:
    key = (completions.c.project_id, completions.c.id)
    oldest = select(*key).where(surplus).order_by(*ORDER).limit(BATCH)
    return delete_completions(connection, tuple_(*key).in_(oldest), now)
