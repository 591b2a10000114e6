"""Combines the errors of one request into one, so that a client learns all of them at once."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, TypeVar

from antiphon.errors import InvalidRequestError

_T = TypeVar("_T")

MAX_ERRORS: Final = 5
"""Errors that a message names; then it says that there are more."""


def combined(errors: Iterable[InvalidRequestError]) -> InvalidRequestError | None:
    """Return one error with the messages of the first ones, and the param and code of the first; None without any."""
    found = list(islice(errors, MAX_ERRORS + 1))
    if len(found) < 2:  # noqa: PLR2004 (a single error needs no other message)
        return found[0] if found else None
    messages = list(dict.fromkeys(error.message for error in found[:MAX_ERRORS]))
    more = ["There are more errors."] if len(found) > MAX_ERRORS else []
    return InvalidRequestError(" ".join([*messages, *more]), param=found[0].param, code=found[0].code)


def all_results(calls: Iterable[Callable[[], _T]]) -> list[_T]:
    """Make every call; return the results. Raises InvalidRequestError with the errors of all calls that raise one."""
    results, errors = [], []
    for call in calls:
        try:
            results.append(call())
        except InvalidRequestError as error:
            errors.append(error)
    found = combined(errors)
    if found is not None:
        raise found
    return results
