"""What a failing database tells: the client that the service is unavailable, the operator what to mend.

Neither hears SQL, values or passwords: the client's message is one of four sentences, and the driver's own error is
only the cause of the exception.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy.exc

from antiphon.errors import ServiceUnavailableError

RETRY_AFTER = 1.0
"""Seconds."""

_OUR_MISTAKES = (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.DataError)
_FAILURES = (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, OSError)

_SENTENCES = (
    (re.compile(r"locked|busy|lock timeout|deadlock|serializ|timed? ?out", re.IGNORECASE), "The database is busy."),
    (re.compile(r"read-?only", re.IGNORECASE), "The database does not accept changes."),
    (re.compile(r"disk is full|no space left|could not extend", re.IGNORECASE), "The database has no space left."),
)
_UNREACHABLE = "The database cannot be reached."


class StoreError(Exception):
    """The database cannot be used at all. The message is for the operator; the command line prints it."""


class DatabaseURLError(StoreError):
    """The address names no database that this server can use."""


class DatabaseOpenError(StoreError):
    """The database is not there, or does not let us in."""


class NewerDatabaseError(StoreError):
    """A newer version of this program has upgraded the database."""


class ForeignDatabaseError(StoreError):
    """The database holds tables of another program."""


@contextmanager
def unavailable_on_failure() -> Iterator[None]:
    """Turn a failure of the database into ServiceUnavailableError; mistakes in our own SQL pass as they are."""
    try:
        yield
    except _OUR_MISTAKES:
        raise
    except _FAILURES as error:
        raise ServiceUnavailableError(f"{sentence(error)} Please try again.", retry_after=RETRY_AFTER) from error


def sentence(error: Exception) -> str:
    """Say what is wrong with the database, in words that tell nothing about it."""
    if isinstance(error, TimeoutError | sqlalchemy.exc.TimeoutError):
        return "The database is busy."
    reason = str(error.orig) if isinstance(error, sqlalchemy.exc.DBAPIError) else str(error)
    return next((text for pattern, text in _SENTENCES if pattern.search(reason)), _UNREACHABLE)
