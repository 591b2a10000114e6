"""Unknown members of a request that are accepted: those that ask for nothing or say nothing new.

``parsed``, ``parsed_arguments`` and ``index`` are added to an answer by the helpers of the official SDKs, which send
the answer back in the next request. The table of fields lists them as redundant.
"""

import re
from functools import cache
from typing import Final

from antiphon.protocol.fields import fields_of

_INDEX: Final = re.compile(r"\[\d+\]")


class Tolerance:
    """Decides which unknown members of one request are removed instead of refused."""

    def removes(self, path: str, key: str, member: object) -> bool:
        """Return whether the member ``key`` of the object at ``path`` is removed."""
        return member is None or (_INDEX.sub("[]", path), key) in _redundant()


@cache
def _redundant() -> frozenset[tuple[str, str]]:
    """Return the path of the object and the name of each redundant field."""
    return frozenset(
        (field.path.rpartition(".")[0], field.path.rpartition(".")[2])
        for field in fields_of("request")
        if field.status == "redundant"
    )
