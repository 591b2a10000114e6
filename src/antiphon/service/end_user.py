"""The name of a request's end user in logs and limits: a hash of the client's identifier.

Reference: ``safety_identifier``, and ``user``, which it replaces. An empty identifier counts as absent, as in the
reference's requests for images.
"""

import hashlib

from antiphon.protocol.requests import CreateChatCompletion

DIGITS = 16
"""Hexadecimal digits of a name: 64 bits."""


def end_user_name(project: str, request: CreateChatCompletion) -> str | None:
    """Return the name of a request's end user, unique within the project; None without an identifier.

    It is the beginning of the SHA-256 of project and identifier. ``safety_identifier`` overrides ``user``.
    """
    identifier = request.safety_identifier or request.user
    if not identifier:
        return None
    # No project's id contains the separator.
    return hashlib.sha256(f"{project}\0{identifier}".encode()).hexdigest()[:DIGITS]
