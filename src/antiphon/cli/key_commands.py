"""``antiphon keys``: who may ask, for which project, and for how long."""

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

MAX_SPAN = 100 * 365 * 86400
"""Seconds. What lasts longer never ends."""
_SPAN = re.compile(r"([0-9]{1,9})([smhdw]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

keys = App(name="keys", help="Make, list, revoke and rotate API keys. From the first key on the server asks for one.")


@keys.command
def create(
    name: Annotated[str, Parameter(show_default=False)] = "",
    *,
    project: str = DEFAULT_PROJECT,
    scope: Annotated[tuple[Scope, ...], Parameter(negative_iterable="", show_default=False)] = ("read", "write"),
    expires: str | None = None,
    storage: StorageFlags | None = None,
) -> None:
    """Make a key and print it: it is shown this once.

    Parameters
    ----------
    name
        What people call it.
    project
        The id or name of the project.
    scope
        What it may do: read (list and retrieve), write (create, update, delete), admin (everything); repeatable.
        Default: read and write.
    expires
        After how long it stops working: 90d, 12h, 30m. Default: never.
    """
    expires_at = None if expires is None else int(time.time()) + seconds(expires)

    async def work(opened: Storage) -> NewKey:
        owner = await find_project(opened, project)
        return await opened.keys.create(owner.id, name, scope, expires_at=expires_at)

    _show(with_storage(storage, work))


@keys.command(name="list")
def list_keys(*, project: str | None = None, storage: StorageFlags | None = None) -> None:
    """List the keys, the oldest first; never their texts.

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
    """End a key at once and for good.

    Parameters
    ----------
    key_id
        As ``antiphon keys list`` shows it.
    """
    key = with_storage(storage, lambda opened: opened.keys.revoke(key_id))
    display.print_line(f"{key.id} is revoked.")


@keys.command
def rotate(key_id: str, *, grace: str = "0s", storage: StorageFlags | None = None) -> None:
    """Give a key a new text and print it: it is shown this once.

    Parameters
    ----------
    key_id
        As ``antiphon keys list`` shows it.
    grace
        How long the old text goes on working: 1d, 12h, 30m.
    """
    span = seconds(grace)
    _show(with_storage(storage, lambda opened: opened.keys.rotate(key_id, grace=span)))


def seconds(text: str) -> int:
    """Read a span of time: ``90d``, ``12h``, ``30m``, ``45s``, ``45``. Raises :class:`CommandError`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise CommandError(f"{text} is no span of time.", "Write 90d, 12h, 30m or 45s.")
    span = int(found[1]) * _UNITS[found[2]]
    if span > MAX_SPAN:
        raise CommandError(f"{text} is more than 100 years.")
    return span


def state(key: APIKey, now: float) -> str:
    """Say whether a key works; ``now`` is in Unix seconds."""
    if key.revoked_at is not None:
        return f"revoked {display.moment(key.revoked_at)}"
    if key.expires_at is None:
        return "valid"
    return f"{'expired' if key.expires_at <= now else 'valid until'} {display.moment(key.expires_at)}"


def _show(new: NewKey) -> None:
    display.say(f"{new.key.id}, project {new.key.project_id}, scopes {' '.join(new.key.scopes)}. Shown this once:")
    display.print_line(new.text)
