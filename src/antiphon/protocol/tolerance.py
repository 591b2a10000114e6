"""Unknown members of a request that are accepted, and the report of those that are ignored.

Null asks for nothing. ``parsed``, ``parsed_arguments`` and ``index`` say nothing new: the helpers of the official SDKs
add them to an answer and send the answer back. Clients keep further members beside the messages that they send, such as
``sender`` or ``timestamp``, because the reference's service accepts them; they are ignored and reported.

A field of the reference is never ignored: in a message of another role it is unknown unless it is an empty list.
"""

import re
from functools import cache
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from antiphon.protocol.field import Status
from antiphon.protocol.fields import fields_of
from antiphon.protocol.validation import join

MAX_PATHS: Final = 16
"""Ignored members that a report names."""
_INDEX: Final = re.compile(r"\[\d+\]")
_MORE: Final = "..."
"""Stands for the paths that a report leaves out."""


class Tolerance(Struct, frozen=True, kw_only=True):
    """The unknown members that an operator accepts."""

    strict_messages: bool = False
    """Whether unknown members of messages are refused."""
    ignored_fields: frozenset[str] = frozenset()
    """The unknown fields of the request itself that are ignored."""


DEFAULT_TOLERANCE: Final = Tolerance()
"""The tolerance of a server without options."""


class UnknownMembers:
    """Decides which unknown members of one request are removed instead of refused."""

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self._ignored: list[str] = []

    @property
    def ignored(self) -> tuple[str, ...]:
        """The paths of the ignored members: at most ``MAX_PATHS``, then ``...``.

        They are ASCII without blanks and commas: clients choose the keys, so every other character is percent-encoded
        in UTF-8.
        """
        more = [_MORE] if len(self._ignored) > MAX_PATHS else []
        return (*self._ignored[:MAX_PATHS], *more)

    def removes(self, path: str, key: str, member: object) -> bool:
        """Return whether the member ``key`` of the object at ``path`` is removed."""
        place = (_INDEX.sub("[]", path), key)
        status = _fields().get(place)
        if member is None or status == "redundant":
            return True
        if status is not None:
            return member == []
        if not self._ignores(path, key):
            return False
        if len(self._ignored) <= MAX_PATHS:
            self._ignored.append(quote(join(path, key), safe="[]"))
        return True

    def _ignores(self, path: str, key: str) -> bool:
        if not path:
            return key in self._tolerance.ignored_fields
        return path.startswith("messages[") and not self._tolerance.strict_messages


@cache
def _fields() -> dict[tuple[str, str], Status]:
    """Return the status of each field of the table, by the path of its object and its name."""
    places = ((field.path.rpartition("."), field.status) for field in fields_of("request"))
    return {(path, name): status for (path, _, name), status in places}
