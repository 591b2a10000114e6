"""The use cases of the API: answer a conversation, and keep, list, change and delete what was answered."""

from antiphon.service.service import Service

__all__ = ["Service"]
