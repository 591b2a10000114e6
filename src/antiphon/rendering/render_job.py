"""The values that the server and the processes that render exchange.

A job and its outcome are JSON, because the numbers of a JSON Schema have no bounds and MessagePack's integers do. The
server imports no template engine and no grammar compiler; only the processes do.
"""

from typing import Any

from msgspec import Struct

from antiphon.chat_formats.answer_calls import AnswerCalls, ContentForm
from antiphon.chat_formats.chat_format import ReasoningMarkers
from antiphon.engine.interface import GenerateRequest, ServiceTier
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.unenforced import NOTHING, Unenforced


class RenderJob(Struct, frozen=True, kw_only=True, tag="render"):
    """One request, and what :meth:`Renderer.render` takes beside it."""

    request: CreateChatCompletion
    request_id: str
    cache_salt: str
    max_model_len: int
    """Tokens of the context, which the engine decides on after the fork server has been started."""


class CheckJob(Struct, frozen=True, kw_only=True, tag="check"):
    """Finished JSON texts of one answer, and the schema that each must be valid against."""

    schema: dict[str, Any]
    texts: list[str]


class TokenJob(Struct, frozen=True, kw_only=True, tag="convert"):
    """A text whose token ids are asked for, or ids whose text is."""

    text: str = ""
    ids: list[int] | None = None
    """None: the ids of ``text`` are asked for."""
    add_special: bool = False
    """Whether the vocabulary's begin and end tokens are added."""
    parse_special: bool = True
    """Whether the text of a control token becomes that token."""
    texts: bool = False
    """Whether the text of each token is asked for."""


Job = RenderJob | TokenJob | CheckJob


class Rendering(Struct, frozen=True, kw_only=True):
    """A request as the engine and the assembly need it."""

    generate: GenerateRequest
    stop: tuple[str, ...]
    reasoning: ReasoningMarkers | None
    reasoning_open: bool
    """The prompt ends inside an open reasoning block."""
    includes_stop: bool = False
    """The content ends with the stop string or the token that has ended it."""
    shows_special_tokens: bool = False
    """The content has the texts of control tokens."""
    tools: AnswerCalls | None = None
    """The tools and the notation of calls; None when the answer can have no call and the family marks no content."""
    content: ContentForm = "text"
    top_logprobs: int | None
    """Alternatives per token; None when no logprobs are asked for."""
    unenforced: Unenforced = NOTHING
    service_tier: ServiceTier
    """The one that is used, for the answer."""


class Rendered(Struct, frozen=True, tag="rendered"):
    """The request can be answered."""

    rendering: Rendering


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """The request cannot be answered: the parts of an :class:`InvalidRequestError`."""

    message: str
    param: str | None
    code: str | None


class Checked(Struct, frozen=True, tag="checked"):
    """The texts have been checked; None if the schema cannot be used."""

    valid: bool | None


class Tokens(Struct, frozen=True, kw_only=True, tag="tokens"):
    """Token ids, and the texts that were asked for."""

    ids: list[int]
    text: str
    texts: list[str]


Outcome = Rendered | Tokens | Refused | Checked
