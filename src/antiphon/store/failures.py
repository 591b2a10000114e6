"""Errors of a failing database, for clients and operators.

No message has SQL, values or passwords. A client's message is one of five; the driver's error is only the exception's
cause.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy.exc

from antiphon.errors import DatabaseUnavailableError, ServiceUnavailableError

TRY_AGAIN = " Please try again."
"""The end of every message."""

_OUR_MISTAKES = (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.DataError)
_FAILURES = (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, OSError)

_BUSY = "The database is busy."
_READ_ONLY = "The database does not accept changes."
_FULL = "The database has no space left."
_BROKEN = "The database's storage fails."
_UNREACHABLE = "The database cannot be reached."
_SENTENCES = {
    "SQLITE_BUSY": _BUSY,
    "SQLITE_LOCKED": _BUSY,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": _BROKEN,  # a quota, too
    "55P03": _BUSY,  # lock_not_available
    "40P01": _BUSY,  # deadlock_detected
    "40001": _BUSY,  # serialization_failure
    "57014": _BUSY,  # query_canceled
    "53300": _BUSY,  # too_many_connections
    "25006": _READ_ONLY,  # read_only_sql_transaction
    "53100": _FULL,  # disk_full
    "58030": _BROKEN,  # io_error
}
"""Messages by SQLite's primary result code or PostgreSQL's SQLSTATE."""
_SQL_ERROR = "SQLITE_ERROR"
"""SQLite's code for an invalid statement, which its driver raises as an operational error."""


class StoreError(Exception):
    """The database cannot be used. The command line prints the message for the operator."""


class DatabaseURLError(StoreError):
    """The address is not one of a supported database."""


class DatabaseOpenError(StoreError):
    """The database cannot be reached or opened."""


class NewerDatabaseError(StoreError):
    """A newer version of this program has upgraded the database."""


class ForeignDatabaseError(StoreError):
    """The database belongs to another program."""


def is_out_of_space(error: Exception) -> bool:
    """Return whether the disk or a quota may be full."""
    return isinstance(error, sqlalchemy.exc.DBAPIError) and _SENTENCES.get(_code(error)) in {_FULL, _BROKEN}


@contextmanager
def unavailable_on_failure() -> Iterator[None]:
    """Turn a failure of the database into DatabaseUnavailableError; errors of our own SQL pass unchanged."""
    try:
        yield
    except _OUR_MISTAKES:
        raise
    except _FAILURES as error:
        if _code(error) == _SQL_ERROR:
            raise
        raise DatabaseUnavailableError(f"{failure_sentence(error)}{TRY_AGAIN}") from error


def failure_sentence(error: Exception) -> str:
    """Return the reason for a failure as a sentence that clients may read."""
    if isinstance(error, TimeoutError | sqlalchemy.exc.TimeoutError):
        return _BUSY
    return _SENTENCES.get(_code(error), _UNREACHABLE)


def _code(error: Exception) -> str:
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    name: str = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""
    return "_".join(name.split("_")[:2])


def driver_message(error: BaseException) -> str:
    """Return the driver's message for the operator, without SQL; an unreadable address is left out."""
    cause = error.__cause__ if isinstance(error, ServiceUnavailableError) and error.__cause__ else error
    if isinstance(cause, sqlalchemy.exc.DBAPIError):
        cause = cause.orig or cause
    elif isinstance(cause, ValueError):
        return "the address cannot be read"
    return (str(cause) or type(cause).__name__).rpartition(">: ")[2].strip().rstrip(".")
