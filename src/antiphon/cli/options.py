"""The options that commands share, as cyclopts reads them: each with its help and the default of the layer below."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from antiphon.config import ServerOptions
from antiphon.engine.interface import EngineOptions

_ENGINE = EngineOptions(model_path="")
_SERVER = ServerOptions()
ENGINE_GROUP = Group("Engine", sort_key=2)
SERVER_GROUP = Group("Server", sort_key=3)
_AT_LEAST_0 = Number(gte=0)
_AT_LEAST_1 = Number(gte=1)


@Parameter(name="*", group=ENGINE_GROUP)
@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """How each engine loads and runs its model."""

    ctx_size: Annotated[
        int,
        Parameter(
            validator=_AT_LEAST_0,
            help="Tokens that a model's KV cache holds, all requests together. 0: its training context, at most 8192.",
        ),
    ] = _ENGINE.ctx_size
    max_num_seqs: Annotated[int, Parameter(validator=_AT_LEAST_1, help="Sequences that decode at the same time.")] = (
        _ENGINE.max_num_seqs
    )
    max_num_batched_tokens: Annotated[int, Parameter(validator=_AT_LEAST_1, help="Tokens that one step may carry.")] = (
        _ENGINE.max_num_batched_tokens
    )
    prefill_chunk_size: Annotated[
        int,
        Parameter(
            validator=_AT_LEAST_1,
            help="Prompt tokens that one step may carry while others decode: smaller keeps their streams smoother.",
        ),
    ] = _ENGINE.prefill_chunk_size
    max_waiting: Annotated[
        int, Parameter(validator=_AT_LEAST_0, help="Requests that may wait for their first step; one more gets a 429.")
    ] = _ENGINE.max_waiting
    threads: Annotated[
        int, Parameter(validator=_AT_LEAST_0, help="Threads of a decode step. 0: the physical cores.")
    ] = _ENGINE.threads
    threads_batch: Annotated[
        int,
        Parameter(validator=_AT_LEAST_0, help="Threads of a step that carries prompt tokens. 0: as many as --threads."),
    ] = _ENGINE.threads_batch
    n_gpu_layers: Annotated[
        int,
        Parameter(validator=Number(gte=-1), help="Layers on the accelerator. -1: all, where the build has one."),
    ] = _ENGINE.n_gpu_layers
    flash_attn: Annotated[bool, Parameter(help="Use flash attention.")] = _ENGINE.flash_attn
    use_mmap: Annotated[
        bool, Parameter(name="--mmap", help="Map the model file into memory instead of reading it.")
    ] = _ENGINE.use_mmap
    use_mlock: Annotated[bool, Parameter(name="--mlock", help="Keep the model in memory: it is never swapped out.")] = (
        _ENGINE.use_mlock
    )

    def options(self, model_path: str) -> EngineOptions:
        """Give the engine's options for one model file."""
        return EngineOptions(model_path=model_path, **self.__dict__)


@Parameter(name="*", group=SERVER_GROUP)
@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """Where the server listens and what it accepts."""

    host: Annotated[str, Parameter(help="Address to listen on. The server asks for no key: leave it on loopback.")] = (
        _SERVER.host
    )
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535), help="Port to listen on. 0: a free one.")] = (
        _SERVER.port
    )
    cors_origin: Annotated[
        tuple[str, ...],
        Parameter(
            help="Origin whose pages may call the server, '*' for all; repeatable.",
            negative_iterable="",
            show_default=False,
        ),
    ] = _SERVER.cors_origins
    max_body_size: Annotated[int, Parameter(validator=_AT_LEAST_1, help="Bytes that a request body may have.")] = (
        _SERVER.max_body_size
    )

    def options(self) -> ServerOptions:
        """Give the server's options."""
        return ServerOptions(
            host=self.host, port=self.port, cors_origins=self.cors_origin, max_body_size=self.max_body_size
        )
