"""Renders requests inside a process that may be killed: the handler of its jobs, and the values that cross over.

A job and its outcome are JSON, because the numbers of a JSON Schema have no bounds and MessagePack's integers do.
"""

from typing import Final

import msgspec
from msgspec import Struct

from antiphon.engine.grammars.grammar_trial import GrammarTrial
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.errors import InvalidRequestError
from antiphon.isolation.fork_server import Handler, Stage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.renderer import Renderer, Rendering
from antiphon.rendering.renderer_settings import RendererSettings, open_renderer

FACTORY: Final = "antiphon.rendering.render_process:open_handler"


class RenderJob(Struct, frozen=True, kw_only=True):
    """One request, and what :meth:`Renderer.render` takes beside it."""

    request: CreateChatCompletion
    request_id: str
    cache_salt: str


class Rendered(Struct, frozen=True, tag="rendered"):
    """The request can be answered."""

    rendering: Rendering


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """The request cannot be answered: the parts of an :class:`InvalidRequestError`."""

    message: str
    param: str | None
    code: str | None


Outcome = Rendered | Refused

_JOBS: Final = msgspec.json.Decoder(RenderJob)
_ENCODER: Final = msgspec.json.Encoder()


def open_handler(argument: bytes) -> Handler:
    """Prepare the renderer of the :class:`RendererSettings` in ``argument``, which is JSON."""
    settings = msgspec.json.decode(argument, type=RendererSettings)
    tokenizer = Tokenizer.open(settings.model_path)
    return handler(open_renderer(settings, tokenizer, GrammarTrial(tokenizer)))


def handler(renderer: Renderer) -> Handler:
    """Return the handler of one job, which takes a :class:`RenderJob` and returns an :data:`Outcome`, both as JSON."""

    def handle(payload: bytes, enter: Stage) -> bytes:
        job = _JOBS.decode(payload)
        try:
            outcome: Outcome = Rendered(renderer.render(job.request, job.request_id, job.cache_salt, enter))
        except InvalidRequestError as error:
            outcome = Refused(message=error.message, param=error.param, code=error.code)
        return _ENCODER.encode(outcome)

    return handle
