"""The requests and answers of the routes about tokens and prompts.

``/tokenize`` and ``/detokenize`` take the shapes of vLLM and of llama.cpp's server; answers have the members of both.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_MODEL
from antiphon.protocol.decoding import decode
from antiphon.protocol.requests import ReceivedRequest, receive_request
from antiphon.protocol.tolerance import DEFAULT_TOLERANCE, Tolerance

MAX_TOKEN_IDS: Final = 1 << 20
"""Token ids of a request to ``/detokenize``."""
ModelName = Annotated[str, Meta(min_length=1, max_length=MAX_MODEL)]
TokenIds = Annotated[list[Annotated[int, Meta(ge=0, le=2**31 - 1)]], Meta(max_length=MAX_TOKEN_IDS)]


class TokenizeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text and how it is tokenized. ``messages`` in its place are a chat completion's request."""

    model: ModelName | None = None
    """None: the only served model."""
    prompt: str | None = None
    """The text, as vLLM names it."""
    content: str | None = None
    """The text, as llama.cpp names it."""
    add_special_tokens: bool | None = None
    """Whether the vocabulary's begin and end tokens are added (vLLM); true by default for ``prompt``."""
    add_special: bool | None = None
    """The same (llama.cpp); false by default for ``content``."""
    parse_special: bool | None = None
    """Whether the text of a control token becomes that token; true by default."""
    return_token_strs: bool | None = None
    """Whether the answer has the text of each token (vLLM)."""
    with_pieces: bool | None = None
    """Whether each token of the answer is an object with its text (llama.cpp)."""

    @property
    def text(self) -> str:
        """The text to tokenize."""
        return self.prompt if self.prompt is not None else self.content or ""

    @property
    def adds_special(self) -> bool:
        """Whether begin and end tokens are added."""
        asked = self.add_special if self.add_special_tokens is None else self.add_special_tokens
        return self.prompt is not None if asked is None else asked


class DetokenizeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Token ids, whose text is asked for."""

    model: ModelName | None = None
    """None: the only served model."""
    tokens: TokenIds


class TokenPiece(Struct, frozen=True, kw_only=True):
    """One token with its text."""

    id: int
    piece: str


class TokenizeAnswer(Struct, frozen=True, kw_only=True):
    """The token ids of a text or of a prompt."""

    count: int
    max_model_len: int
    """Tokens of prompt and answer together at most."""
    tokens: list[int | TokenPiece]
    token_strs: list[str] | None = None


class DetokenizeAnswer(Struct, frozen=True, kw_only=True):
    """The text of token ids, under the names of vLLM and of llama.cpp."""

    prompt: str
    content: str


class TemplateAnswer(Struct, frozen=True, kw_only=True):
    """The prompt of a request."""

    prompt: str


class InputTokens(Struct, frozen=True, kw_only=True):
    """The number of tokens of a request's prompt."""

    object: Literal["chat.completion.input_tokens"] = "chat.completion.input_tokens"
    input_tokens: int


class _Kind(Struct, frozen=True):
    model: msgspec.Raw | UnsetType = UNSET
    messages: msgspec.Raw = msgspec.Raw(b"null")


_KIND: Final = msgspec.json.Decoder(_Kind)
_TOKENIZE: Final = msgspec.json.Decoder(TokenizeRequest)
_DETOKENIZE: Final = msgspec.json.Decoder(DetokenizeRequest)


def decode_tokenize(
    body: bytes, default_model: str | None, tolerance: Tolerance = DEFAULT_TOLERANCE
) -> TokenizeRequest | ReceivedRequest:
    """Decode a body of ``/tokenize``. Raises InvalidRequestError."""
    kind = _kind(body)
    if kind is not None and bytes(kind.messages) != b"null":
        return decode_prompt_request(body, default_model, tolerance)
    request = decode(_TOKENIZE, body)
    if (request.prompt is None) == (request.content is None):
        raise validation.invalid_value("prompt", "exactly one of 'prompt', 'content' and 'messages' is needed.")
    if None not in (request.add_special, request.add_special_tokens):
        raise validation.invalid_value("add_special", "it is another name of 'add_special_tokens'.")
    if request.with_pieces and request.return_token_strs:
        raise validation.invalid_value("with_pieces", "it contradicts 'return_token_strs'.")
    return request


def decode_detokenize(body: bytes) -> DetokenizeRequest:
    """Decode a body of ``/detokenize``. Raises InvalidRequestError."""
    return decode(_DETOKENIZE, body)


def decode_prompt_request(
    body: bytes, default_model: str | None, tolerance: Tolerance = DEFAULT_TOLERANCE
) -> ReceivedRequest:
    """Decode the body of a chat completion, whose model may be left out where only one is served."""
    if default_model is not None and _leaves_model_out(body):
        rest = body.rstrip()[:-1]  # the member comes last, so that errors count the bytes of the client's body
        comma = b"" if rest.rstrip().endswith(b"{") else b","
        body = rest + comma + b'"model":' + msgspec.json.encode(default_model) + b"}"
    return receive_request(body, tolerance)


def _leaves_model_out(body: bytes) -> bool:
    kind = _kind(body)
    return kind is not None and kind.model is UNSET


def _kind(body: bytes) -> _Kind | None:
    try:
        return _KIND.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the decoder of the route names the error
