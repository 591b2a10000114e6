"""What the server is told from outside: its options, and the only place that reads the environment.

Every option of the command line has a variable ``ANTIPHON_<OPTION>`` (``--ctx-size`` is ``ANTIPHON_CTX_SIZE``); an
option given on the command line wins. The variables of the Hugging Face hub (``HF_*``) are read by ``huggingface_hub``.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

PREFIX = "ANTIPHON_"
LIST_OPTIONS = frozenset({"model", "cors-origin", "metadata", "scope"})
"""Options that may be given several times; their variables hold values parted by blanks, quoted as in a shell."""


class ServerOptions(Struct, frozen=True, kw_only=True):
    """How the HTTP side listens and what it accepts."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the server; empty: CORS is off; ``*`` admits all."""
    max_body_size: int = 32 * 1024 * 1024
    """Bytes that a request body may have."""
    allow_unauthenticated: bool = False
    """Whether a server without keys may listen on an address that other machines reach."""
    organization: str = "org-antiphon"
    """What a request's OpenAI-Organization must say where keys are asked for."""


def variable(option: str) -> str:
    """Name the environment variable of an option: ``--ctx-size`` and ``ctx-size`` give ``ANTIPHON_CTX_SIZE``."""
    return PREFIX + option.lstrip("-").replace("-", "_").upper()


def option_values(environ: Mapping[str, str] | None = None) -> dict[str, str | list[str]]:
    """Give what the environment sets, by option name without dashes before it; empty variables count as absent."""
    environ = os.environ if environ is None else environ
    values: dict[str, str | list[str]] = {}
    for name, value in environ.items():
        if name.startswith(PREFIX) and value:
            option = name.removeprefix(PREFIX).lower().replace("_", "-")
            parts = shlex.split(value) if option in LIST_OPTIONS else [value]
            # A lone value suits an option that takes one, too, such as chat's --model beside serve's.
            values[option] = parts[0] if len(parts) == 1 else parts
    return values


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Give the folder of downloaded models: ``ANTIPHON_CACHE_DIR``, else ``antiphon`` in the XDG cache folder."""
    environ = os.environ if environ is None else environ
    if chosen := environ.get(variable("cache-dir")):
        return Path(chosen).expanduser()
    return _xdg_folder(environ, "XDG_CACHE_HOME", ".cache")


def data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Give the folder of the database: ``antiphon`` in the XDG data folder. An option goes before it."""
    return _xdg_folder(os.environ if environ is None else environ, "XDG_DATA_HOME", ".local/share")


def _xdg_folder(environ: Mapping[str, str], name: str, default: str) -> Path:
    base = environ.get(name, "")
    # The XDG base directory specification: a relative path is invalid and to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / default
    return root / "antiphon"
