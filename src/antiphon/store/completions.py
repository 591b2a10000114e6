"""Stored completions of projects: save, read, list page by page, update, delete.

Completions are listed by the second in which they were created, and within it in the order in which they were stored.
Pages use keyset pagination by (created, stored_at, id) on an index, so that every page costs the same. An ``after``
whose completion was deleted works for another day, so that a client may delete completions while it lists them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    delete,
    func,
    literal,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.sql.schema import Column

from antiphon.errors import ConflictError, NotFoundError
from antiphon.protocol.stored import (
    CompletionDeleted,
    CompletionList,
    MessageList,
    StoredCompletion,
    StoredMessage,
    message_id,
)
from antiphon.protocol.stored_queries import MAX_LIMIT, CompletionQuery, PageQuery
from antiphon.protocol.validation import shorten
from antiphon.store import retention
from antiphon.store.database import Database
from antiphon.store.engines import insert
from antiphon.store.schema import completion_messages, completion_metadata, completions, deleted_completions

Status = Literal["completed", "cancelled", "failed"]
"""The end of the answer. A choice that broke off has the ``finish_reason`` null."""

PROBE = 500
"""The most index rows that are counted per filter to find the rarest of several."""

MICROSECONDS = 1_000_000
"""Of a second."""

MAX_POSITION_DIGITS = 9
"""Digits of the number in a message's id."""

_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_decode_completion = msgspec.json.Decoder(StoredCompletion).decode
_decode_message = msgspec.json.Decoder(StoredMessage).decode

_WIRE = (completions.c.id, completions.c.metadata, completions.c.body)


class CompletionStore:
    """The stored completions of all projects. Every method raises ServiceUnavailableError when the database fails."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        """``clock`` returns Unix seconds."""
        self._database = database
        self._clock = clock

    async def save(
        self,
        project_id: str,
        stored: StoredCompletion,
        messages: Sequence[StoredMessage],
        *,
        status: Status = "completed",
    ) -> None:
        """Store a completion with its request's messages. After the return it survives a loss of power.

        Raises ConflictError when the project has a completion with this id.
        """
        now = int(self._clock() * MICROSECONDS)
        await self._database.write(lambda connection: _save(connection, project_id, stored, messages, status, now))

    async def get(self, project_id: str, completion_id: str) -> StoredCompletion:
        """Return a completion. Raises NotFoundError."""
        statement = select(*_WIRE).where(_is(project_id, completion_id))
        row = await self._database.read(lambda connection: connection.execute(statement).one_or_none())
        return _completion(_found(row, completion_id))

    async def list(self, project_id: str, query: CompletionQuery | None = None) -> CompletionList:
        """Return a page. Raises NotFoundError with the param ``after`` for an unknown completion."""
        query = query or CompletionQuery()
        assert 1 <= query.limit <= MAX_LIMIT, f"1 <= {query.limit} <= {MAX_LIMIT}"
        rows = await self._database.read(lambda connection: _page(connection, project_id, query))
        data = [_completion(row) for row in rows[: query.limit]]
        first, last = _ends([completion.id for completion in data])
        return CompletionList(data=data, first_id=first, last_id=last, has_more=len(rows) > query.limit)

    async def count(self, project_id: str, query: CompletionQuery) -> int:
        """Return the number of completions that match the filters, on all pages."""

        def counted(connection: Connection) -> int:
            driver = _rarest(connection, project_id, query)
            rows = select(func.count()).select_from(completions)
            number: int = connection.execute(_filtered(rows, project_id, query, driver)).scalar_one()
            return number

        return await self._database.read(counted)

    async def update_metadata(
        self, project_id: str, completion_id: str, metadata: Mapping[str, str] | None
    ) -> StoredCompletion:
        """Replace all metadata; return the updated completion. Raises NotFoundError."""
        row = await self._database.write(
            lambda connection: _update(connection, project_id, completion_id, dict(metadata or {}))
        )
        return _completion(row)

    async def delete(self, project_id: str, completion_id: str) -> CompletionDeleted:
        """Delete a completion with its messages and metadata. Raises NotFoundError."""
        now = int(self._clock())
        await self._database.write(lambda connection: _delete(connection, project_id, completion_id, now), urgent=True)
        return CompletionDeleted(id=completion_id)

    async def messages(self, project_id: str, completion_id: str, query: PageQuery | None = None) -> MessageList:
        """Return a page of the messages of a completion's request. Raises NotFoundError."""
        query = query or PageQuery()
        assert 1 <= query.limit <= MAX_LIMIT, f"1 <= {query.limit} <= {MAX_LIMIT}"
        rows = await self._database.read(lambda connection: _messages(connection, project_id, completion_id, query))
        data = [_decode_message(row.body) for row in rows[: query.limit]]
        first, last = _ends([message.id for message in data])
        return MessageList(data=data, first_id=first, last_id=last, has_more=len(rows) > query.limit)

    async def prune(self, *, max_age: float | None, max_count: int | None) -> int:
        """Delete completions older than ``max_age`` seconds, and all but the newest ``max_count`` of each project.

        None sets no bound. Deletes in batches, so that other writers can run between; returns the number deleted.
        """
        return await retention.prune(self._database, now=int(self._clock()), max_age=max_age, max_count=max_count)


def _is(project_id: str, completion_id: str) -> ColumnElement[bool]:
    return and_(completions.c.project_id == project_id, completions.c.id == completion_id)


def _found(row: _T | None, completion_id: str) -> _T:
    if row is None:
        raise NotFoundError(f"Chat completion with id '{shorten(completion_id)}' not found.", param="completion_id")
    return row


def _completion(row: Row[*tuple[Any, ...]]) -> StoredCompletion:
    return msgspec.structs.replace(_decode_completion(row.body), metadata=_decode_metadata(row.metadata))


def _ends(ids: Sequence[str]) -> tuple[str | None, str | None]:
    return (ids[0], ids[-1]) if ids else (None, None)


def _save(
    connection: Connection,
    project_id: str,
    stored: StoredCompletion,
    messages: Sequence[StoredMessage],
    status: Status,
    now: int,
) -> None:
    new = insert(connection, completions).values(stored_at=_stored_at(project_id, stored.created, now))
    statement = new.on_conflict_do_nothing().returning(completions.c.stored_at)
    values = {
        "project_id": project_id,
        "id": stored.id,
        "created": stored.created,
        "model": stored.model,
        "status": status,
        "message_count": len(messages),
        "metadata": _encode(stored.metadata).decode(),
        "body": _encode(msgspec.structs.replace(stored, metadata={})).decode(),
    }
    stored_at = connection.execute(statement, values).scalar_one_or_none()
    if stored_at is None:
        raise ConflictError(f"There is a chat completion with id '{shorten(stored.id)}' already.")
    _insert_parts(connection, project_id, stored, messages)
    common = {"project_id": project_id, "completion_id": stored.id, "created": stored.created, "stored_at": stored_at}
    _insert_metadata(connection, common, stored.metadata)


def _stored_at(project_id: str, created: int, now: int) -> ColumnElement[int]:
    """Return the time of storing in microseconds, after all of the same second, even if the clock steps back."""
    same_second = and_(completions.c.project_id == project_id, completions.c.created == created)
    last = select(func.max(completions.c.stored_at)).where(same_second).scalar_subquery()
    return case((last >= now, last + 1), else_=now)


def _insert_parts(
    connection: Connection, project_id: str, stored: StoredCompletion, messages: Sequence[StoredMessage]
) -> None:
    common = {"project_id": project_id, "completion_id": stored.id}
    bodies = [_encode(message).decode() for message in messages]
    assert [message.id for message in messages] == [message_id(stored.id, index) for index in range(len(messages))]
    if bodies:
        rows = [common | {"position": index, "body": body} for index, body in enumerate(bodies)]
        connection.execute(completion_messages.insert(), rows)


def _insert_metadata(connection: Connection, common: dict[str, Any], metadata: Mapping[str, str]) -> None:
    if metadata:
        rows = [common | {"key": key, "value": value} for key, value in metadata.items()]
        connection.execute(completion_metadata.insert(), rows)


def _page(connection: Connection, project_id: str, query: CompletionQuery) -> Sequence[Row[Any]]:
    after = None if query.after is None else _key_of(connection, project_id, query.after)
    driver = _rarest(connection, project_id, query)
    return connection.execute(_select_page(project_id, query, driver, after)).all()


def _key_of(connection: Connection, project_id: str, completion_id: str) -> tuple[int, int, str]:
    """Return the key of the completion ``after``, which may have been deleted."""
    tables = (completions, deleted_completions)
    keys = [
        select(table.c.created, table.c.stored_at, table.c.id).where(
            table.c.project_id == project_id, table.c.id == completion_id
        )
        for table in tables
    ]
    key = connection.execute(union_all(*keys)).first()
    if key is None:
        raise NotFoundError(f"Chat completion with id '{shorten(completion_id)}' not found.", param="after")
    return tuple(key)


def _rarest(connection: Connection, project_id: str, query: CompletionQuery) -> str | None:
    """Return the filter whose index drives the query: a metadata key, or None for the model or the time.

    It is the filter with the fewest rows, counted up to :data:`PROBE`.
    """
    keys: list[str | None] = [*(query.metadata or {}), *([None] if query.model is not None else [])]
    if len(keys) < 2:  # noqa: PLR2004 (nothing to choose)
        return keys[0] if keys else None
    ranges = (_range(project_id, query, key) for key in keys)
    # Without the order, PostgreSQL may scan the table.
    found = (
        select(literal(1)).where(condition).order_by(*order).limit(PROBE).subquery() for order, condition in ranges
    )
    counts = connection.execute(select(*(select(func.count()).select_from(rows).scalar_subquery() for rows in found)))
    return min(zip(counts.one(), keys, strict=True), key=lambda pair: pair[0])[1]


def _range(project_id: str, query: CompletionQuery, driver: str | None) -> tuple[Sequence[Column[Any]], Any]:
    """Return the order and the condition of the driving filter's index range."""
    if driver is not None:
        pair, value = completion_metadata.c, (query.metadata or {})[driver]
        condition = and_(pair.project_id == project_id, pair.key == driver, pair.value == value)
        return (pair.created, pair.stored_at, pair.completion_id), condition
    condition = completions.c.project_id == project_id
    if query.model is not None:
        condition = and_(condition, completions.c.model == query.model)
    return retention.ORDER, condition


def _select_page(
    project_id: str, query: CompletionQuery, driver: str | None, after: tuple[int, int, str] | None
) -> Select[Any]:
    """Select one row more than a page, in the order of the driving index.

    The other filters are checked for each of its rows, by primary key.
    """
    columns, _ = _range(project_id, query, driver)
    statement = _filtered(select(*_WIRE), project_id, query, driver)
    return _ordered(statement, columns, query, after).limit(query.limit + 1)


def _filtered(statement: Select[Any], project_id: str, query: CompletionQuery, driver: str | None) -> Select[Any]:
    _, condition = _range(project_id, query, driver)
    statement = statement.where(condition)
    if driver is not None:
        statement = statement.join_from(
            completion_metadata, completions, _same_completion(completion_metadata.c, completions.c)
        )
        if query.model is not None:
            statement = statement.where(completions.c.model == query.model)
    others = ((key, value) for key, value in (query.metadata or {}).items() if key != driver)
    return statement.where(*(_has(key, value) for key, value in others))


def _same_completion(part: Any, whole: Any) -> ColumnElement[bool]:  # noqa: ANN401 (collections of columns)
    return and_(whole.project_id == part.project_id, whole.id == part.completion_id)


def _has(key: str, value: str) -> ColumnElement[bool]:
    """Return the condition that a completion has the pair, looked up by primary key for each row.

    Without the OFFSET, PostgreSQL would turn it into a join, which reads and sorts all matching rows instead of
    stopping when the page is full.
    """
    other = completion_metadata.alias()
    pair = and_(_same_completion(other.c, completions.c), other.c.key == key, other.c.value == value)
    return select(literal(1)).select_from(other).where(pair).correlate(completions).offset(0).exists()


def _ordered(
    statement: Select[Any], columns: Sequence[Column[Any]], query: PageQuery, after: tuple[Any, ...] | None
) -> Select[Any]:
    if after is not None:
        key = tuple_(*columns)
        statement = statement.where(key > after if query.order == "asc" else key < after)
    return statement.order_by(*(column.asc() if query.order == "asc" else column.desc() for column in columns))


def _update(connection: Connection, project_id: str, completion_id: str, metadata: dict[str, str]) -> Row[Any]:
    statement = (
        update(completions)
        .where(_is(project_id, completion_id))
        .values(metadata=_encode(metadata).decode())
        .returning(*_WIRE, completions.c.created, completions.c.stored_at)
    )
    row = _found(connection.execute(statement).one_or_none(), completion_id)
    common = {"project_id": project_id, "completion_id": completion_id}
    of_completion = (completion_metadata.c[name] == value for name, value in common.items())
    connection.execute(delete(completion_metadata).where(*of_completion))
    _insert_metadata(connection, common | {"created": row.created, "stored_at": row.stored_at}, metadata)
    return row


def _delete(connection: Connection, project_id: str, completion_id: str, now: int) -> None:
    deleted = retention.delete_completions(connection, _is(project_id, completion_id), now)
    _found(completion_id if deleted else None, completion_id)


def _messages(connection: Connection, project_id: str, completion_id: str, query: PageQuery) -> Sequence[Row[Any]]:
    count = connection.execute(select(completions.c.message_count).where(_is(project_id, completion_id))).scalar()
    after = _position(query.after, completion_id, _found(count, completion_id))
    table = completion_messages.c
    statement = select(table.body).where(table.project_id == project_id, table.completion_id == completion_id)
    key = None if after is None else (after,)
    return connection.execute(_ordered(statement, (table.position,), query, key).limit(query.limit + 1)).all()


def _position(after: str | None, completion_id: str, count: int) -> int | None:
    if after is None:
        return None
    digits = after.removeprefix(f"{completion_id}-")
    index = int(digits) if digits.isdecimal() and len(digits) <= MAX_POSITION_DIGITS else -1
    if not 0 <= index < count or message_id(completion_id, index) != after:
        raise NotFoundError(f"Message with id '{shorten(after)}' not found.", param="after")
    return index
