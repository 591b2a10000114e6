"""The use cases of the API: answer a conversation; store, list, update and delete completions."""

from antiphon.service.service import Service

__all__ = ["Service"]
