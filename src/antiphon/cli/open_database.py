"""Opens the database for a command, and raises its failures as :class:`CommandError`."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

from antiphon.cli.options import LimitFlags, RetentionFlags, StorageFlags
from antiphon.console.command_error import CommandError
from antiphon.errors import APIError
from antiphon.service.maintenance import Retention
from antiphon.service.storage import Storage
from antiphon.store.database import Database
from antiphon.store.failures import StoreError
from antiphon.store.limits import UNLIMITED, Limits

DAY = 86400
"""Seconds."""
_T = TypeVar("_T")


@asynccontextmanager
async def open_storage(
    flags: StorageFlags | None,
    *,
    project_limits: Limits = UNLIMITED,
    key_limits: Limits = UNLIMITED,
    end_user_limits: Limits = UNLIMITED,
) -> AsyncGenerator[Storage, None]:
    """Open the database and upgrade it to this version. Raises :class:`CommandError` when it cannot be used."""
    flags = flags or StorageFlags()
    try:
        async with Storage.open(
            flags.database,
            flags.folder,
            project_limits=project_limits,
            key_limits=key_limits,
            end_user_limits=end_user_limits,
        ) as storage:
            yield storage
    except StoreError as error:
        raise CommandError(str(error)) from error


def with_storage(flags: StorageFlags | None, work: Callable[[Storage], Awaitable[_T]]) -> _T:
    """Run ``work`` on the upgraded database and return its result. Raises :class:`CommandError`."""

    async def run() -> _T:
        async with open_storage(flags) as storage:
            return await work(storage)

    return _run(run)


def with_database(flags: StorageFlags | None, work: Callable[[Database], Awaitable[_T]]) -> _T:
    """Run ``work`` on the database without an upgrade and return its result. Raises :class:`CommandError`."""
    flags = flags or StorageFlags()

    async def run() -> _T:
        database = await Database.open(flags.database, data_dir=flags.folder)
        try:
            return await work(database)
        finally:
            await database.close()

    return _run(run)


def _run(run: Callable[[], Awaitable[_T]]) -> _T:
    try:
        return anyio.run(run)
    except (StoreError, APIError) as error:
        raise CommandError(str(error)) from error


def retention(flags: RetentionFlags) -> Retention:
    """Return the retention in the store's units."""
    age = None if flags.retention_days is None else flags.retention_days * DAY
    return Retention(max_age=age, max_count=flags.retention_count)


def project_limits(flags: LimitFlags) -> Limits:
    """Return the limits of every project."""
    return Limits(
        requests_per_minute=flags.project_requests_per_minute,
        tokens_per_minute=flags.project_tokens_per_minute,
        concurrent_requests=flags.project_concurrent_requests,
    )


def key_limits(flags: LimitFlags) -> Limits:
    """Return the limits of every key."""
    return Limits(
        requests_per_minute=flags.key_requests_per_minute,
        tokens_per_minute=flags.key_tokens_per_minute,
        concurrent_requests=flags.key_concurrent_requests,
    )


def end_user_limits(flags: LimitFlags) -> Limits:
    """Give the limits of every end user."""
    return Limits(
        requests_per_minute=flags.end_user_requests_per_minute,
        concurrent_requests=flags.end_user_concurrent_requests,
    )
