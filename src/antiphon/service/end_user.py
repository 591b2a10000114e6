"""Names the end user of a request for logs and limits, by a hash of the identifier that the client sent.

Reference: ``safety_identifier``, and ``user``, which it replaces. An empty identifier counts as absent, as in the
reference's requests for images.
"""

import hashlib

from antiphon.protocol.requests import CreateChatCompletion

DIGITS = 16
"""Hexadecimal digits of a name: 64 bits."""


def end_user_name(project: str, request: CreateChatCompletion) -> str | None:
    """Return the name of a request's end user, the same for one identifier in one project; None without identifier.

    The name is the beginning of the SHA-256 of project and identifier. ``safety_identifier`` goes before ``user``.
    """
    identifier = request.safety_identifier or request.user
    if not identifier:
        return None
    # No project holds the separator.
    return hashlib.sha256(f"{project}\0{identifier}".encode()).hexdigest()[:DIGITS]
