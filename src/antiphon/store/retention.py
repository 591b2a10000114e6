"""Deletion of stored completions, one by one or by age and count; what is deleted leaves its place in the order.

The place (created, id) of a deleted completion is kept for a day: a client that deletes the page it has just read can
still ask for the next one.
"""

import math
from functools import partial

from sqlalchemy import ColumnElement, Connection, and_, delete, select, tuple_

from antiphon.store.database import Database
from antiphon.store.engines import insert
from antiphon.store.schema import completions, deleted_completions, projects

BATCH = 100
"""Completions that one transaction deletes: some milliseconds' work."""
PLACE_LIFETIME = 24 * 3600
"""Seconds that the place of a deleted completion is known."""


def delete_completions(connection: Connection, condition: ColumnElement[bool], now: int) -> int:
    """Delete the completions that ``condition`` names, with all their parts; return how many there were."""
    key = (completions.c.project_id, completions.c.id, completions.c.created)
    rows = connection.execute(delete(completions).where(condition).returning(*key)).all()
    if rows:
        places = [dict(row._mapping, deleted_at=now) for row in rows]  # noqa: SLF001 (SQLAlchemy's public name)
        _forget_places(connection, now)
        statement = insert(connection, deleted_completions)
        new = {name: statement.excluded[name] for name in ("created", "deleted_at")}
        connection.execute(statement.on_conflict_do_update(index_elements=["project_id", "id"], set_=new), places)
    return len(rows)


def _forget_places(connection: Connection, now: int) -> None:
    """Delete as many old places as one batch can have added, twice over, so that they do not pile up."""
    table = deleted_completions.c
    key = tuple_(table.project_id, table.id)
    old = select(table.project_id, table.id).where(table.deleted_at < now - PLACE_LIFETIME).limit(2 * BATCH)
    connection.execute(delete(deleted_completions).where(key.in_(old)))


async def prune(database: Database, *, now: int, max_age: float | None, max_count: int | None) -> int:
    """Delete by age and by count, in batches; return how many completions there were."""
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
    """Name what a project has too much of: one end of an index, by one bound, so that its end is found at once."""
    key = (completions.c.created, completions.c.id)
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
    oldest = select(*key).where(surplus).order_by(completions.c.created, completions.c.id).limit(BATCH)
    return delete_completions(connection, tuple_(*key).in_(oldest), now)
