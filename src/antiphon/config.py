"""The server's options, and the only module that reads the environment.

Every option of the command line has a variable ``ANTIPHON_<OPTION>`` (``--ctx-size``: ``ANTIPHON_CTX_SIZE``). An option
on the command line overrides its variable. An unknown variable is an error. ``huggingface_hub`` reads the variables
``HF_*``, the SDK of OpenTelemetry reads ``OTEL_*``.
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
"""The prefix of the variables for this project's tests."""
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
        "ignore-field",
        "interval",
        "json",
        "keep-alive-timeout",
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
        "max-logprobs",
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
        "stream-headers-after",
        "streams",
        "strict-messages",
        "strict-schemas",
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
"""The options of all commands, and ``cache-dir``, which has a variable only. A test compares them with the commands."""
LIST_OPTIONS = frozenset({"model", "cors-origin", "ignore-field", "metadata", "scope", "streams", "only"})
"""Options that may be repeated; their variables hold values separated by blanks, quoted as in a shell."""
_SERVICE_LINK: Final = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)", re.ASCII)
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://", re.ASCII)
OTLP_PROTOCOL = "http/protobuf"
"""The only protocol for traces that this server supports; it is OpenTelemetry's default."""


class ServerOptions(Struct, frozen=True, kw_only=True):
    """Options of the HTTP server."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free port."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the server. Empty: CORS is off. ``*`` allows all."""
    max_body_size: int = 32 * 1024 * 1024
    """The largest request body in bytes."""
    max_body_memory: int = 512
    """Memory for the bodies of all requests together, in MiB."""
    write_timeout: float = 60.0
    """Seconds without a read by the client after which its connection is closed."""
    keep_alive_timeout: float = 75.0
    """Seconds without a request after which a connection is closed. Pools of clients and proxies hold 15 to 90."""
    stream_headers_after: float = 5.0
    """Seconds after which a stream begins even without a chunk: the head, and comments until the first chunk."""
    drain_timeout: float = 20.0
    """Seconds after a signal until running answers are cut off; the whole shutdown stays below the 30 of Kubernetes."""
    allow_unauthenticated: bool = False
    """Whether a server without keys may listen on an address that other machines reach."""
    strict_messages: bool = False
    """Whether unknown members of messages are refused instead of ignored."""
    ignored_fields: tuple[str, ...] = ()
    """Unknown fields of requests that are ignored instead of refused."""
    organization: str = "org-antiphon"
    """The value that a request's OpenAI-Organization must have where keys are required."""


def variable(option: str) -> str:
    """Return the environment variable of an option: ``--ctx-size`` and ``ctx-size`` give ``ANTIPHON_CTX_SIZE``."""
    return PREFIX + option.lstrip("-").replace("-", "_").upper()


class VariableError(ValueError):
    """A variable is unknown, or its value cannot be read."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


def option_values(environ: Mapping[str, str] | None = None) -> dict[str, str | list[str]]:
    """Return the options that the environment sets, by name without leading dashes; an empty variable sets none.

    Raises :class:`VariableError` for an unknown variable with our prefix: a misspelt one is never ignored.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, str | list[str]] = {}
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX) and value and not _is_foreign(name, value):
            option = name.removeprefix(PREFIX).lower().replace("_", "-")
            if option not in OPTIONS:
                raise VariableError(f"{name} is no variable of Antiphon.", _suggestion(option))
            values[option] = _parts(name, value) if option in LIST_OPTIONS else value
    return values


def _is_foreign(name: str, value: str) -> bool:
    """Return whether the tests or Kubernetes, for a service named antiphon or antiphon-…, set this variable.

    Kubernetes sets ANTIPHON_PORT to an address.
    """
    if name.endswith("_PORT") and _SERVICE_ADDRESS.match(value):
        return True
    return name.startswith(TEST_PREFIX) or bool(_SERVICE_LINK.fullmatch(name))


def _suggestion(option: str) -> str:
    found = difflib.get_close_matches(option, OPTIONS, n=1)
    return f"Did you mean {variable(found[0])}?" if found else "docs/configuration.md lists all variables."


def _parts(name: str, value: str) -> str | list[str]:
    """Split a value as a shell does; return a single part as text, for options that take one (``chat --model``)."""
    try:
        parts = shlex.split(value)
    except ValueError as error:
        raise VariableError(f"{name} cannot be read: {error}.", "Quote its values as in a shell.") from error
    return parts[0] if len(parts) == 1 else parts


def has_trace_collector(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether OpenTelemetry's variables name a collector and leave the SDK enabled."""
    environ = os.environ if environ is None else environ
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return not off and any(environ.get(name) for name in names)


def otlp_protocol(environ: Mapping[str, str] | None = None) -> str:
    """Return the protocol for traces from OpenTelemetry's variables; the SDK reads all the other variables itself."""
    environ = os.environ if environ is None else environ
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((environ[name] for name in names if environ.get(name)), OTLP_PROTOCOL)


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of downloaded models: ``ANTIPHON_CACHE_DIR``, else ``antiphon`` in the XDG cache folder."""
    environ = os.environ if environ is None else environ
    if chosen := environ.get(variable("cache-dir")):
        return Path(chosen).expanduser()
    return _xdg_folder(environ, "XDG_CACHE_HOME", ".cache")


def data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the default folder of the database: ``antiphon`` in the XDG data folder."""
    return _xdg_folder(os.environ if environ is None else environ, "XDG_DATA_HOME", ".local/share")


def _xdg_folder(environ: Mapping[str, str], name: str, default: str) -> Path:
    base = environ.get(name, "")
    # XDG base directory specification: relative paths are invalid and must be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / default
    return root / "antiphon"
