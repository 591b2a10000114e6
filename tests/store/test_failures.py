"""Messages about a failing database."""

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from antiphon.errors import DatabaseUnavailableError, ServiceUnavailableError
from antiphon.store.failures import driver_message, unavailable_on_failure

STATEMENT = "INSERT INTO secrets VALUES (?)"


def sqlite_error(name: str) -> OperationalError:
    cause = sqlite3.OperationalError(f"what {name} means")
    cause.sqlite_errorname = name
    return OperationalError(STATEMENT, None, cause)


def postgresql_error(state: str) -> DBAPIError:
    class Cause(Exception):  # noqa: N818 (the driver's)
        sqlstate = state

    return DBAPIError(STATEMENT, None, Cause("<class 'asyncpg.exceptions.Cause'>: relation secrets"))


BUSY = "The database is busy. Please try again."
UNREACHABLE = "The database cannot be reached. Please try again."
READ_ONLY = "The database does not accept changes. Please try again."
FULL = "The database has no space left. Please try again."
BROKEN = "The database's storage fails. Please try again."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (sqlite_error("SQLITE_BUSY"), BUSY),
        (sqlite_error("SQLITE_BUSY_SNAPSHOT"), BUSY),
        (sqlite_error("SQLITE_READONLY_DBMOVED"), READ_ONLY),
        (sqlite_error("SQLITE_FULL"), FULL),
        (sqlite_error("SQLITE_CORRUPT"), UNREACHABLE),
        (sqlite_error("SQLITE_IOERR_WRITE"), BROKEN),
        (postgresql_error("55P03"), BUSY),
        (postgresql_error("25006"), READ_ONLY),
        (postgresql_error("53100"), FULL),
        (postgresql_error("58030"), BROKEN),
        (postgresql_error("57P01"), UNREACHABLE),
        (PoolTimeoutError("pool"), BUSY),
        (TimeoutError(), BUSY),
        (ConnectionRefusedError(111, "10.0.0.1"), UNREACHABLE),
    ],
)
def test_a_failure_is_one_of_five_sentences(error: Exception, message: str) -> None:
    with pytest.raises(DatabaseUnavailableError) as caught, unavailable_on_failure():
        raise error
    assert (message, 1.0, error) == (caught.value.message, caught.value.retry_after, caught.value.__cause__)


@pytest.mark.parametrize(
    "error", [sqlite_error("SQLITE_ERROR"), IntegrityError(STATEMENT, None, Exception()), KeyError("x")]
)
def test_errors_of_our_sql_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, unavailable_on_failure():
        raise error
    assert caught.value is error


def test_operator_gets_the_message_of_the_driver_without_sql() -> None:
    with pytest.raises(ServiceUnavailableError) as caught, unavailable_on_failure():
        raise postgresql_error("57P01")
    assert "relation secrets" == driver_message(caught.value)
    assert "the address cannot be read" == driver_message(ValueError("postgresql://user:secret@"))
    assert "TimeoutError" == driver_message(TimeoutError())
