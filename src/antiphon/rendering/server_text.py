"""Notation that the server itself writes among the texts of users, so that it stays structure where theirs does not.

Such text stands between two lone surrogates. No text of a request has these: JSON is read as UTF-8, and what is read a
second time (the arguments of calls) goes through :func:`replace_surrogates`.
"""

import re
from typing import Final

_BEGIN, _END = "\udc00", "\udc01"
_OWN: Final = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def server_text(text: str) -> str:
    """Mark a text as the server's."""
    return f"{_BEGIN}{text}{_END}"


def split_server_text(text: str) -> list[str]:
    """Return a text cut around what the server wrote; the odd items are that."""
    return _OWN.split(text) if _BEGIN in text else [text]


def replace_surrogates(text: str) -> str:
    """Return a user's text without lone surrogates, which no UTF-8 contains."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
