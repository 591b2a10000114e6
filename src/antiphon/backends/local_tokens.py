"""The tokens of a model on this machine: of texts, of ids and of requests. Every conversion runs in another process."""

from typing import Protocol

from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.render_job import Rendering, TokenJob, Tokens


class TokenRenderer(Protocol):
    """Renders and converts; see :class:`antiphon.rendering.isolated_renderer.IsolatedRenderer`."""

    @property
    def max_model_len(self) -> int:
        """Tokens of a prompt and its answer together at most."""

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        """Return the request for the engine."""

    async def convert(self, job: TokenJob) -> Tokens:
        """Return the ids of a text, or the text of ids."""


class LocalTokens:
    """Counts, tokenizes and detokenizes for one model. Every method raises an ``APIError`` as the renderer does."""

    def __init__(self, renderer: TokenRenderer) -> None:
        self._renderer = renderer

    @property
    def max_model_len(self) -> int:
        """Tokens of a prompt and its answer together at most."""
        return self._renderer.max_model_len

    async def prompt_ids(self, request: CreateChatCompletion, request_id: str) -> list[int]:
        """Return the ids of the request's prompt."""
        return (await self._renderer.render(request, request_id, "")).generate.prompt_ids

    async def tokenize(self, text: str, *, add_special: bool, parse_special: bool, texts: bool) -> Tokens:
        """Return the ids of a text, with the text of each token if ``texts``."""
        job = TokenJob(text=text, add_special=add_special, parse_special=parse_special, texts=texts)
        return await self._renderer.convert(job)

    async def detokenize(self, ids: list[int]) -> str:
        """Return the text of ids."""
        return (await self._renderer.convert(TokenJob(ids=ids))).text
