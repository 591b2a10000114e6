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
MAX_CHARACTERS: Final = 1024
"""Characters of a report, far below the 8 KiB that proxies accept for all headers."""
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
        self._characters = 0
        self._complete = True

    @property
    def report(self) -> str:
        """The paths of the ignored members, separated by commas; empty without any.

        It is ASCII without blanks: clients choose the keys, so every other character is percent-encoded in UTF-8. It
        names at most ``MAX_PATHS`` paths in ``MAX_CHARACTERS`` characters, then ``...``.
        """
        return ",".join(self._ignored if self._complete else [*self._ignored, _MORE])

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
        self._report(join(path, key))
        return True

    def _ignores(self, path: str, key: str) -> bool:
        if not path:
            return key in self._tolerance.ignored_fields
        return path.startswith("messages[") and not self._tolerance.strict_messages

    def _report(self, path: str) -> None:
        written = quote(path, safe="[]")
        self._characters += len(written) + 1
        if len(self._ignored) == MAX_PATHS or self._characters + len(_MORE) > MAX_CHARACTERS:
            self._complete = False
        if self._complete:
            self._ignored.append(written)


@cache
def _fields() -> dict[tuple[str, str], Status]:
    """Return the status of each field of the table, by the path of its object and its name."""
    places = ((field.path.rpartition("."), field.status) for field in fields_of("request"))
    return {(path, name): status for (path, _, name), status in places}
