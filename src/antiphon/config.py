"""What the server is told from outside: its options, and the only place that reads the environment.

Every option of the command line has a variable ``ANTIPHON_<OPTION>`` (``--ctx-size`` is ``ANTIPHON_CTX_SIZE``); an
option given on the command line wins, and a variable that no option has is an error. The variables of the Hugging Face
hub (``HF_*``) are read by ``huggingface_hub``, those of OpenTelemetry (``OTEL_*``) by its SDK.
"""

import difflib
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

PREFIX = "ANTIPHON_"
TEST_PREFIX: Final = f"{PREFIX}TEST_"
"""Of variables that are for the tests of this project."""
OPTIONS: Final = frozenset(
    {
        "allow-unauthenticated",
        "answered-by",
        "api-key",
        "cache-dir",
        "cache-ram",
        "chat-format",
        "chat-template",
        "completion-id",
        "cors-origin",
        "ctx-size",
        "data-dir",
        "database",
        "draft-model",
        "drain-timeout",
        "end-user-concurrent-requests",
        "end-user-requests-per-minute",
        "expires",
        "flash-attn",
        "force",
        "grace",
        "heartbeat-timeout",
        "host",
        "interval",
        "json",
        "key-concurrent-requests",
        "key-id",
        "key-requests-per-minute",
        "key-tokens-per-minute",
        "limit",
        "log-exception-text",
        "log-json",
        "log-level",
        "max-body-memory",
        "max-body-size",
        "max-num-batched-tokens",
        "max-num-seqs",
        "max-waiting",
        "measure",
        "metadata",
        "mlock",
        "mmap",
        "model",
        "n-gpu-layers",
        "name",
        "only",
        "optimize",
        "organization",
        "otlp-traces-endpoint",
        "output",
        "port",
        "prefill-chunk-size",
        "project",
        "project-concurrent-requests",
        "project-requests-per-minute",
        "project-tokens-per-minute",
        "prompt-lookup",
        "quick",
        "retention-count",
        "retention-days",
        "rounds",
        "scope",
        "streams",
        "system",
        "threads",
        "threads-batch",
        "type",
        "unfinished",
        "url",
        "urls",
        "write-timeout",
    }
)
"""The options of all commands and the folder of downloaded models: each has a variable. A test compares them."""
LIST_OPTIONS = frozenset({"model", "cors-origin", "metadata", "scope", "streams", "only"})
"""Options that may be given several times; their variables hold values parted by blanks, quoted as in a shell."""
_SERVICE_LINK: Final = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)", re.ASCII)
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://", re.ASCII)
OTLP_PROTOCOL = "http/protobuf"
"""How traces are sent: the default of OpenTelemetry, and the only one that is spoken."""


class ServerOptions(Struct, frozen=True, kw_only=True):
    """How the HTTP side listens and what it accepts."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the server; empty: CORS is off; ``*`` admits all."""
    max_body_size: int = 32 * 1024 * 1024
    """Bytes that a request body may have."""
    max_body_memory: int = 512
    """MiB that the bodies of all requests may take together."""
    write_timeout: float = 60.0
    """Seconds for which a client may take nothing of its answer."""
    drain_timeout: float = 20.0
    """Seconds that running answers have to end after a signal: with what follows, less than the 30 of Kubernetes."""
    allow_unauthenticated: bool = False
    """Whether a server without keys may listen on an address that other machines reach."""
    organization: str = "org-antiphon"
    """What a request's OpenAI-Organization must say where keys are asked for."""


def variable(option: str) -> str:
    """Name the environment variable of an option: ``--ctx-size`` and ``ctx-size`` give ``ANTIPHON_CTX_SIZE``."""
    return PREFIX + option.lstrip("-").replace("-", "_").upper()


class VariableError(ValueError):
    """A variable that no option has, or whose value cannot be read."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


def option_values(environ: Mapping[str, str] | None = None) -> dict[str, str | list[str]]:
    """Give what the environment sets, by option name without dashes before it; empty variables count as absent.

    Raises :class:`VariableError` for a variable of ours that no option has: a mistyped one is never ignored.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, str | list[str]] = {}
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX) and value and not _is_of_others(name, value):
            option = name.removeprefix(PREFIX).lower().replace("_", "-")
            if option not in OPTIONS:
                raise VariableError(f"{name} is no variable of Antiphon.", _suggestion(option))
            values[option] = _parts(name, value) if option in LIST_OPTIONS else value
    return values


def _is_of_others(name: str, value: str) -> bool:
    """Whether a variable is one of the tests, or one that Kubernetes sets for a service whose name begins as ours.

    Among those of a service that is called antiphon is ANTIPHON_PORT, which holds an address.
    """
    if name.endswith("_PORT") and _SERVICE_ADDRESS.match(value):
        return True
    return name.startswith(TEST_PREFIX) or bool(_SERVICE_LINK.fullmatch(name))


def _suggestion(option: str) -> str:
    found = difflib.get_close_matches(option, OPTIONS, n=1)
    return f"Did you mean {variable(found[0])}?" if found else "docs/configuration.md lists all variables."


def _parts(name: str, value: str) -> str | list[str]:
    """Cut a value as a shell does. A lone part suits an option that takes one, such as --model of chat."""
    try:
        parts = shlex.split(value)
    except ValueError as error:
        raise VariableError(f"{name} cannot be read: {error}.", "Quote its values as in a shell.") from error
    return parts[0] if len(parts) == 1 else parts


def names_collector(environ: Mapping[str, str] | None = None) -> bool:
    """Whether OpenTelemetry's variables ask for traces: they name a collector, and nothing turns the SDK off."""
    environ = os.environ if environ is None else environ
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return not off and any(environ.get(name) for name in names)


def otlp_protocol(environ: Mapping[str, str] | None = None) -> str:
    """Give the protocol that OpenTelemetry's variables name for traces; the SDK itself reads all others of them."""
    environ = os.environ if environ is None else environ
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((environ[name] for name in names if environ.get(name)), OTLP_PROTOCOL)


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
