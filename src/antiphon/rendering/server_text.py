"""Marks the server's notation within texts of users: it may become control tokens, their text may not.

A mark is a pair of lone surrogates around the text. No text of a request has lone surrogates: request bodies are UTF-8,
and :func:`replace_surrogates` removes them from JSON in strings (the arguments of calls).
"""

import re
from typing import Final

_BEGIN, _END = "\udc00", "\udc01"
_OWN: Final = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def server_text(text: str) -> str:
    """Return a text marked as the server's."""
    return f"{_BEGIN}{text}{_END}"


def split_server_text(text: str) -> list[str]:
    """Return a text split at the marks; the items at odd indices are the server's."""
    return _OWN.split(text) if _BEGIN in text else [text]


def replace_surrogates(text: str) -> str:
    """Return a user's text with U+FFFD for lone surrogates, which have no UTF-8 form."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
