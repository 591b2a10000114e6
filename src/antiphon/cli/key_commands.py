"""``antiphon keys``: creates, lists, revokes and rotates API keys."""

import re
import time
from typing import Annotated

from cyclopts import App, Parameter

from antiphon.cli.open_database import with_storage
from antiphon.cli.options import StorageFlags
from antiphon.cli.project_commands import find_project
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.service.storage import Storage
from antiphon.store.keys import APIKey, NewKey, Scope
from antiphon.store.schema import DEFAULT_PROJECT

MAX_DURATION = 100 * 365 * 86400
"""Seconds."""
_DURATION = re.compile(r"([0-9]{1,9})([smhdw]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

keys = App(name="keys", help="Create, list, revoke and rotate API keys. Once there is a key, requests need one.")


@keys.command
def create(
    name: Annotated[str, Parameter(show_default=False)] = "",
    *,
    project: str = DEFAULT_PROJECT,
    scope: Annotated[tuple[Scope, ...], Parameter(negative_iterable="", show_default=False)] = ("read", "write"),
    expires: str | None = None,
    storage: StorageFlags | None = None,
) -> None:
    """Create a key and print it. It is not shown again.

    Parameters
    ----------
    name
        A name for people.
    project
        The id or name of the project.
    scope
        The rights of the key: read (list and retrieve), write (create, update, delete) or admin (all); repeatable.
        Default: read and write.
    expires
        Time until the key expires: 90d, 12h, 30m. Default: never.
    """
    expires_at = None if expires is None else int(time.time()) + parse_duration(expires)

    async def work(opened: Storage) -> NewKey:
        owner = await find_project(opened, project)
        return await opened.keys.create(owner.id, name, scope, expires_at=expires_at)

    _show(with_storage(storage, work))


@keys.command(name="list")
def list_keys(*, project: str | None = None, storage: StorageFlags | None = None) -> None:
    """List the keys, the oldest first, without their texts.

    Parameters
    ----------
    project
        The id or name of the project. Default: all.
    """

    async def work(opened: Storage) -> list[APIKey]:
        return await opened.keys.list(None if project is None else (await find_project(opened, project)).id)

    now = time.time()
    rows = [
        (key.id, key.name, key.project_id, " ".join(key.scopes), display.moment(key.created), state(key, now))
        for key in with_storage(storage, work)
    ]
    display.print_table(("id", "name", "project", "scopes", "created", "state"), rows)


@keys.command
def revoke(key_id: str, *, storage: StorageFlags | None = None) -> None:
    """Revoke a key at once and for good.

    Parameters
    ----------
    key_id
        As ``antiphon keys list`` shows it.
    """
    key = with_storage(storage, lambda opened: opened.keys.revoke(key_id))
    display.print_line(f"{key.id} is revoked.")


@keys.command
def rotate(key_id: str, *, grace: str = "0s", storage: StorageFlags | None = None) -> None:
    """Give a key a new text and print it. It is not shown again.

    Parameters
    ----------
    key_id
        As ``antiphon keys list`` shows it.
    grace
        Time for which the old text still works: 1d, 12h, 30m.
    """
    seconds = parse_duration(grace)
    _show(with_storage(storage, lambda opened: opened.keys.rotate(key_id, grace=seconds)))


def parse_duration(text: str) -> int:
    """Return the seconds of a text such as ``90d``, ``12h``, ``30m``, ``45s`` or ``45``. Raises CommandError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CommandError(f"{text} is not a duration.", "Write 90d, 12h, 30m or 45s.")
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > MAX_DURATION:
        raise CommandError(f"{text} is more than 100 years.")
    return seconds


def state(key: APIKey, now: float) -> str:
    """Return whether a key is valid, as text. ``now`` is in Unix seconds."""
    if key.revoked_at is not None:
        return f"revoked {display.moment(key.revoked_at)}"
    if key.expires_at is None:
        return "valid"
    return f"{'expired' if key.expires_at <= now else 'valid until'} {display.moment(key.expires_at)}"


def _show(new: NewKey) -> None:
    display.say(f"{new.key.id}, project {new.key.project_id}, scopes {' '.join(new.key.scopes)}. Not shown again:")
    display.print_line(new.text)
