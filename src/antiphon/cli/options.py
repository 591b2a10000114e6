"""The options that several commands share, with their help. Defaults are those of the layer below."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from antiphon.cli.numeric_options import MAX_BATCHED_TOKENS, MAX_DAYS, MAX_THREADS, count, duration
from antiphon.config import ServerOptions, data_dir
from antiphon.console.command_error import CommandError
from antiphon.engine.interface import EngineOptions
from antiphon.protocol.bounds import MAX_LOGPROBS
from antiphon.rendering.renderer_settings import REFERENCE_LOGPROBS, StrictSchemas
from antiphon.telemetry.logs import LogLevel

_ENGINE = EngineOptions(model_path="")
_SERVER = ServerOptions()
ENGINE_GROUP = Group("Engine", sort_key=2)
SERVER_GROUP = Group("Server", sort_key=3)
STORAGE_GROUP = Group("Storage", sort_key=4)
LIMITS_GROUP = Group("Rate limits", sort_key=5)
TELEMETRY_GROUP = Group("Logs and traces", sort_key=6)


@Parameter(name="*", group=ENGINE_GROUP)
@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """The options of each engine."""

    ctx_size: Annotated[
        int,
        count(0),
        Parameter(
            help="Tokens that a model's KV cache holds, for all requests together. 0: its training context, at most "
            "8192.",
        ),
    ] = _ENGINE.ctx_size
    cache_ram: Annotated[
        int,
        count(-1),
        Parameter(
            help="MiB of host memory for cached prefixes that no request uses. -1: twice the size of the KV cache. "
            "0: none.",
        ),
    ] = _ENGINE.cache_ram
    max_num_seqs: Annotated[int, count(1), Parameter(help="Sequences that decode at the same time.")] = (
        _ENGINE.max_num_seqs
    )
    max_num_batched_tokens: Annotated[
        int, count(1, MAX_BATCHED_TOKENS), Parameter(help="Tokens that one step may carry.")
    ] = _ENGINE.max_num_batched_tokens
    prefill_chunk_size: Annotated[
        int,
        count(1),
        Parameter(
            help="Prompt tokens that one step may carry while other requests decode. A smaller number makes the gaps "
            "between their tokens shorter.",
        ),
    ] = _ENGINE.prefill_chunk_size
    max_waiting: Annotated[
        int, count(0), Parameter(help="Requests that may wait for their first step. The next one gets a 429.")
    ] = _ENGINE.max_waiting
    threads: Annotated[
        int, count(0, MAX_THREADS), Parameter(help="Threads of a decode step. 0: the physical cores.")
    ] = _ENGINE.threads
    threads_batch: Annotated[
        int,
        count(0, MAX_THREADS),
        Parameter(help="Threads of a step that carries prompt tokens. 0: as many as --threads."),
    ] = _ENGINE.threads_batch
    n_gpu_layers: Annotated[
        int,
        count(-1),
        Parameter(help="Layers on the accelerator. -1: all, if the build supports one."),
    ] = _ENGINE.n_gpu_layers
    flash_attn: Annotated[bool, Parameter(help="Use flash attention.")] = _ENGINE.flash_attn
    prompt_lookup: Annotated[
        bool, Parameter(help="Draft tokens from the conversation itself where that makes answers faster.")
    ] = _ENGINE.prompt_lookup
    draft_model: Annotated[
        str,
        Parameter(
            help="A GGUF file, or hf:owner/repo:file-or-quant, of a small model with the same vocabulary. It drafts "
            "tokens that the served model verifies. Answers are the same with and without it.",
            show_default=False,
        ),
    ] = _ENGINE.draft_model
    use_mmap: Annotated[
        bool, Parameter(name="--mmap", help="Map the model file into memory instead of reading it.")
    ] = _ENGINE.use_mmap
    use_mlock: Annotated[
        bool, Parameter(name="--mlock", help="Lock the model in memory, so that it is not swapped out.")
    ] = _ENGINE.use_mlock
    heartbeat_timeout: Annotated[
        float,
        duration(),
        Parameter(
            help="Seconds without a message after which an engine counts as hung, is killed and started again. Must "
            "be longer than its longest step.",
        ),
    ] = _ENGINE.heartbeat_timeout

    def __post_init__(self) -> None:
        """Raise :class:`CommandError` when the options contradict each other."""
        if self.max_num_seqs > self.max_num_batched_tokens:
            sequences, tokens = self.max_num_seqs, self.max_num_batched_tokens
            message = f"--max-num-seqs {sequences} is more than --max-num-batched-tokens {tokens}."
            raise CommandError(message, "Each sequence that decodes needs one token of the step.")

    def options(self, model_path: str) -> EngineOptions:
        """Return the engine's options for one model file."""
        return EngineOptions(model_path=model_path, **self.__dict__)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TemplateFlags:
    """The options of rendering: the chat template, the notation of calls, strict schemas, the number of logprobs."""

    chat_template: Annotated[
        Path | None, Parameter(help="A file with a Jinja chat template, instead of the one inside the model.")
    ] = None
    chat_format: Annotated[
        str | None,
        Parameter(
            help="The family of the model's notation for tool calls and reasoning, such as hermes or mistral, instead "
            "of the one that is detected from its chat template. An unknown name lists them all."
        ),
    ] = None
    max_logprobs: Annotated[
        int,
        count(0, MAX_LOGPROBS),
        Parameter(help="Alternatives of each token that top_logprobs and prompt_logprobs may ask for."),
    ] = REFERENCE_LOGPROBS
    strict_schemas: Annotated[
        StrictSchemas,
        Parameter(
            help="Schemas that strict: true accepts. exact: all that can be enforced exactly. reference: only those of "
            "the reference's subset, to test for portability."
        ),
    ] = "exact"


@Parameter(name="*", group=SERVER_GROUP)
@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """The options of the HTTP server."""

    host: Annotated[str, Parameter(help="Address to listen on. One that other machines can reach needs keys.")] = (
        _SERVER.host
    )
    port: Annotated[int, count(0, 65535), Parameter(help="Port to listen on. 0: a free one.")] = _SERVER.port
    cors_origin: Annotated[
        tuple[str, ...],
        Parameter(
            help="Origin whose pages may call the server, '*' for all; repeatable.",
            negative_iterable="",
            show_default=False,
        ),
    ] = _SERVER.cors_origins
    max_body_size: Annotated[int, count(1), Parameter(help="Bytes that a request body may have.")] = (
        _SERVER.max_body_size
    )
    max_body_memory: Annotated[
        int,
        count(1),
        Parameter(
            help="MiB that the bodies of all unanswered requests may take together. A request that does not fit gets a "
            "429, unless its body is at most 64 KiB long.",
        ),
    ] = _SERVER.max_body_memory
    write_timeout: Annotated[
        float,
        duration(),
        Parameter(
            help="Seconds for which a client may read nothing of its answer. Then its connection is closed.",
        ),
    ] = _SERVER.write_timeout
    keep_alive_timeout: Annotated[
        float,
        duration(),
        Parameter(
            help="Seconds for which a connection stays open between two requests. Set more than a proxy before this "
            "server does, or the proxy may send a request while the connection closes.",
        ),
    ] = _SERVER.keep_alive_timeout
    stream_headers_after: Annotated[
        float,
        duration(positive=False),
        Parameter(
            help="Seconds after which a stream begins even without a first token: with status 200, and a comment every "
            "15 seconds until the token. An error after that is an event of the stream.",
        ),
    ] = _SERVER.stream_headers_after
    drain_timeout: Annotated[
        float,
        duration(positive=False),
        Parameter(
            help="Seconds in which running answers may end after SIGTERM or Ctrl-C. A second signal ends them at once.",
        ),
    ] = _SERVER.drain_timeout

    allow_unauthenticated: Annotated[
        bool,
        Parameter(negative=(), help="Serve on any address even when there are no keys.", show_default=False),
    ] = _SERVER.allow_unauthenticated
    strict_messages: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Refuse unknown members of messages. Default: ignore them, and name them in the answer's header "
            "x-antiphon-ignored and in the log.",
            show_default=False,
        ),
    ] = _SERVER.strict_messages
    ignore_field: Annotated[
        tuple[str, ...],
        Parameter(
            help="An unknown field of requests, such as keep_alive, that is ignored and named like those members; "
            "repeatable. Others are refused.",
            negative_iterable="",
            show_default=False,
        ),
    ] = _SERVER.ignored_fields
    organization: Annotated[
        str, Parameter(help="The value that the header OpenAI-Organization must have when keys are needed.")
    ] = _SERVER.organization

    def options(self) -> ServerOptions:
        """Return the server's options."""
        return ServerOptions(
            host=self.host,
            port=self.port,
            cors_origins=self.cors_origin,
            max_body_size=self.max_body_size,
            max_body_memory=self.max_body_memory,
            write_timeout=self.write_timeout,
            keep_alive_timeout=self.keep_alive_timeout,
            stream_headers_after=self.stream_headers_after,
            drain_timeout=self.drain_timeout,
            allow_unauthenticated=self.allow_unauthenticated,
            strict_messages=self.strict_messages,
            ignored_fields=self.ignore_field,
            organization=self.organization,
        )


@Parameter(name="*", group=STORAGE_GROUP)
@dataclass(frozen=True, kw_only=True)
class StorageFlags:
    """The location of the database."""

    database: Annotated[
        str | None,
        Parameter(
            help="postgresql://... of a database that several servers may share. Default: SQLite in --data-dir. Put an "
            "address with a password in the variable: other users of the machine see command lines."
        ),
    ] = None
    data_dir: Annotated[
        Path | None,
        Parameter(help="Folder of the SQLite database. Default: antiphon in the XDG data folder, ~/.local/share."),
    ] = None

    @property
    def folder(self) -> Path:
        """The folder of the SQLite database."""
        return self.data_dir.expanduser() if self.data_dir else data_dir()


@Parameter(name="*", group=STORAGE_GROUP)
@dataclass(frozen=True, kw_only=True)
class RetentionFlags(StorageFlags):
    """The location of the database, and how long it keeps stored completions."""

    retention_days: Annotated[
        float | None, duration(at_most=MAX_DAYS), Parameter(help="Days after which stored completions are deleted.")
    ] = None
    retention_count: Annotated[
        int | None,
        count(0),
        Parameter(help="Stored completions that each project keeps. The oldest are deleted."),
    ] = None


@Parameter(name="*", group=TELEMETRY_GROUP)
@dataclass(frozen=True, kw_only=True)
class TelemetryFlags:
    """The options of logs and traces."""

    log_level: Annotated[LogLevel, Parameter(help="The least severe events that are logged.")] = "info"
    log_json: Annotated[bool | None, Parameter(help="Log JSON lines. Default: on unless stderr is a terminal.")] = None
    log_exception_text: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Log the messages of unexpected exceptions, too, not only their types and places. A message may quote "
            "prompts and answers.",
            show_default=False,
        ),
    ] = False
    otlp_traces_endpoint: Annotated[
        str | None,
        Parameter(
            help="Send OpenTelemetry traces to this OTLP/HTTP address, such as http://127.0.0.1:4318/v1/traces. Needs "
            "the extra otel. Default: the value of OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or "
            "OTEL_EXPORTER_OTLP_ENDPOINT; no traces without them."
        ),
    ] = None


@Parameter(name="*", group=LIMITS_GROUP)
@dataclass(frozen=True, kw_only=True)
class LimitFlags:
    """The limits of a project, of a key and of an end user; None sets none."""

    project_requests_per_minute: Annotated[
        int | None, count(1), Parameter(help="Requests a minute of each project.")
    ] = None
    project_tokens_per_minute: Annotated[
        int | None, count(1), Parameter(help="Tokens a minute of each project, prompts and answers.")
    ] = None
    project_concurrent_requests: Annotated[
        int | None, count(1), Parameter(help="Requests of each project that run at once.")
    ] = None
    key_requests_per_minute: Annotated[int | None, count(1), Parameter(help="Requests a minute of each key.")] = None
    key_tokens_per_minute: Annotated[
        int | None, count(1), Parameter(help="Tokens a minute of each key, prompts and answers.")
    ] = None
    key_concurrent_requests: Annotated[
        int | None, count(1), Parameter(help="Requests of each key that run at once.")
    ] = None
    end_user_requests_per_minute: Annotated[
        int | None,
        count(1),
        Parameter(
            help="Requests a minute of each end user of a project. A request names its end user in the field "
            "safety_identifier, or else in user."
        ),
    ] = None
    end_user_concurrent_requests: Annotated[
        int | None, count(1), Parameter(help="Requests of each end user of a project that run at once.")
    ] = None
