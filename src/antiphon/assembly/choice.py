"""Splits the tokens of one choice into reasoning, content and tool calls.

Tokens are processed one by one, so the result does not depend on how the engine grouped them into events.
"""

import os
from collections.abc import Callable

from msgspec import Struct

from antiphon.assembly.call_pieces import CallStart, CallText
from antiphon.assembly.content import ContentText
from antiphon.assembly.detokenizer import Detokenizer, Vocabulary
from antiphon.assembly.json_text import may_be_json
from antiphon.assembly.reasoning_parser import ReasoningParser
from antiphon.assembly.token_logprobs import ContentLogprobs, TokenTexts
from antiphon.assembly.tool_parser import Content, Piece, ToolParser
from antiphon.chat_formats.answer_calls import AnswerCalls, ContentForm
from antiphon.chat_formats.chat_format import ReasoningMarkers, tool_markers
from antiphon.engine.interface import TokenLogprobs
from antiphon.protocol.base62 import base62
from antiphon.protocol.responses import FinishReason, TokenLogprob

ID_LENGTH = 24
"""Random characters of a call's id, about 140 bits."""


def new_call_id(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Return ``call_`` and random letters and digits."""
    return f"call_{base62(random_bytes(ID_LENGTH)).decode('ascii')}"


class AssemblyOptions(Struct, frozen=True, kw_only=True):
    """The settings of the assembly, from the request and the model's chat format."""

    n: int = 1
    stop: tuple[str, ...] = ()
    min_tokens: int = 0
    """Tokens of the answer in which no stop string is searched."""
    includes_stop: bool = False
    """The content ends with the stop string or the token that has ended it (``include_stop_str_in_output``)."""
    prompt_token_ids: list[int] | None = None
    """The tokens of the prompt if the chunks carry token ids (``return_token_ids``), else None."""
    prompt_logprobs: bool = False
    """Whether the answer has the logprobs of the prompt."""
    shows_special_tokens: bool = False
    """The content has the texts of control tokens (``skip_special_tokens`` is false)."""
    reasoning: ReasoningMarkers | None = None
    reasoning_open: bool = False
    """The prompt ends inside an open reasoning block."""
    logprobs: bool = False
    tools: AnswerCalls | None = None
    """None: everything after the reasoning is content."""
    content: ContentForm = "text"
    new_call_id: Callable[[], str] = new_call_id
    running_usage: int | None = None
    """The prompt's tokens, if every chunk carries the usage so far (``continuous_usage_stats``)."""


class ChoiceDelta(Struct):
    """The text, logprobs and calls that new tokens add to a choice."""

    reasoning: str = ""
    content: str = ""
    entries: list[TokenLogprob] = []
    """Logprobs of the tokens whose content is complete."""
    calls: list[CallStart | CallText] = []
    """Adjacent pieces of text are joined."""


class ChoiceState:
    """The parsers, counters and flags of one choice."""

    __slots__ = (
        "_content",
        "_content_form",
        "_content_start",
        "_control_end",
        "_includes_stop",
        "_logprobs",
        "_markers",
        "_min_tokens",
        "_parser",
        "_plain",
        "_reasoning_text",
        "_shows_special_tokens",
        "_size",
        "_tool_parser",
        "_tools",
        "_vocabulary",
        "accepted_prediction_tokens",
        "closed",
        "completion_tokens",
        "custom_calls",
        "finish_reason",
        "has_calls",
        "index",
        "rejected_prediction_tokens",
        "role_sent",
    )

    def __init__(self, index: int, options: AssemblyOptions, vocabulary: Vocabulary, texts: TokenTexts) -> None:
        reasoning, tools = options.reasoning, options.tools
        self.index = index
        self.role_sent = self.closed = False
        self.finish_reason: FinishReason | None = None
        self.completion_tokens = self.accepted_prediction_tokens = self.rejected_prediction_tokens = 0
        self.has_calls = False
        """Whether a call has begun before a stop string."""
        self.custom_calls: set[int] = set()
        """Indices of the calls whose text is the input of a custom tool."""
        self._vocabulary = vocabulary
        self._reasoning_text = Detokenizer()
        self._parser = ReasoningParser(reasoning, reasoning_open=options.reasoning_open) if reasoning else None
        self._tools = tools
        self._content_form = options.content
        self._tool_parser = (
            None
            if tools is None
            else ToolParser(
                tools.notation, tools.tools, opening=tools.opening, content=options.content, foreign=tools.foreign
            )
        )
        self._markers = (
            *((reasoning.start, reasoning.end) if reasoning else ()),
            *(tool_markers(tools.notation) if tools else ()),
        )
        self._logprobs = ContentLogprobs(texts) if options.logprobs else None
        self._content = ContentText(
            options.stop, self._logprobs, holds_space=tools is not None, includes_stop=options.includes_stop
        )
        self._min_tokens = options.min_tokens
        self._includes_stop, self._shows_special_tokens = options.includes_stop, options.shows_special_tokens
        is_split = tools or options.stop or options.logprobs or options.shows_special_tokens
        self._plain = not is_split and options.prompt_token_ids is None
        self._content_start: int | None = None
        self._size = self._control_end = 0
        if reasoning is None:
            self._begin_content(0)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reasoning, its markers included."""
        return self._parser.reasoning_tokens if self._parser else 0

    @property
    def stopped(self) -> bool:
        """Whether the content has reached a stop string, or a call repeats an earlier one."""
        return self._content.stopped or (self._tool_parser is not None and self._tool_parser.repeated)

    @property
    def is_empty(self) -> bool:
        """Whether the choice may call tools and has neither called one nor given content."""
        return self._tools is not None and not self.has_calls and not self._content.has_text

    def push(self, token_ids: list[int], logprobs: list[TokenLogprobs], *, is_end: bool = False) -> ChoiceDelta:
        """Process tokens up to the end of a stop string or of a repeated call, and return what they add.

        ``is_end``: the only token ends the answer; its text is dropped unless the request includes it.
        """
        if is_end and not self._includes_stop:
            self.completion_tokens += 1
            return ChoiceDelta()
        new, entries = ChoiceDelta(), self._logprobs
        assert entries is None or len(logprobs) == len(token_ids), f"{len(logprobs)} == {len(token_ids)}"
        for position, token_id in enumerate(token_ids):
            self.completion_tokens += 1
            self._content.searches = self.completion_tokens > self._min_tokens
            data = self._token_bytes(token_id)
            self._size += len(data)
            if entries is not None:
                entries.add(token_id, data, logprobs[position])
            if self._content_start is None:
                data = self._push_reasoning(data, new)
            self._push_answer(data, new)
            if self.stopped:
                break
        self._take_content(new, final=self.stopped)
        return new

    @property
    def is_plain(self) -> bool:
        """Whether all tokens are content without stop strings or logprobs, so that :meth:`push_plain` suffices."""
        return self._plain and self._content_start is not None

    def push_plain(self, token_ids: list[int]) -> str:
        """Return the text that the tokens complete; the choice must be ``is_plain``."""
        self.completion_tokens += len(token_ids)
        return self._content.push_plain(b"".join(map(self._vocabulary.token_bytes, token_ids)))

    def flush(self) -> ChoiceDelta:
        """End the answer and return everything that was held back."""
        new = ChoiceDelta()
        if self._content_start is None and self._parser is not None:
            thought, data = self._parser.flush()
            thought = b"" if self._has_control(thought) else thought
            data = data if self._may_be_content(data) else b""
            new.reasoning = self._reasoning_text.push(thought) + self._reasoning_text.flush()
            if self._parser.content_start is not None:
                self._begin_content(self._parser.content_start)
            self._push_answer(data, new)
        if self._tool_parser is not None and self._content_start is not None and not self.stopped:
            self._add_pieces(self._tool_parser.end(self._control_end - self._content_start), new)
        self._content.end()
        self._take_content(new, final=True)
        return new

    def _take_content(self, new: ChoiceDelta, *, final: bool) -> None:
        if self._content_start is not None:
            new.content, new.entries = self._content.take(final=final)

    def _token_bytes(self, token_id: int) -> bytes:
        """Return the token's bytes; for a control token that is part of a marker, the bytes of its printable form."""
        data = self._vocabulary.token_bytes(token_id)
        if not data and self._shows_special_tokens:
            return self._vocabulary.token_text(token_id).encode()
        if not data and (self._content_start is None or self._tool_parser is not None):
            text = self._vocabulary.token_text(token_id)
            if any(text in marker for marker in self._markers):
                data = text.encode()
                self._control_end = self._size + len(data)
        return data

    def _has_control(self, end: bytes) -> bool:
        """Return whether these last bytes of the answer hold a control token."""
        return self._control_end > self._size - len(end)

    def _may_be_content(self, end: bytes) -> bool:
        """Return whether the answer may be content that ends so, though a marker begins so, too."""
        if self._content_form == "none" or self._has_control(end):
            return False
        return self._content_form == "text" or may_be_json(end)

    def _begin_content(self, start: int) -> None:
        self._content_start = start
        self._content.begin(start)

    def _push_reasoning(self, data: bytes, new: ChoiceDelta) -> bytes:
        """Add the reasoning in the bytes to ``new`` and return the content after it."""
        assert self._parser is not None
        thought, content = self._parser.push(data)
        if thought:
            new.reasoning += self._reasoning_text.push(thought)
        if self._parser.content_start is not None:
            new.reasoning += self._reasoning_text.flush()
            self._begin_content(self._parser.content_start)
        elif self._logprobs is not None and self._parser.is_reasoning:
            self._logprobs.clear()
        return content

    def _push_answer(self, data: bytes, new: ChoiceDelta) -> None:
        if not data:
            return
        if self._tool_parser is not None:
            self._add_pieces(self._tool_parser.push(data), new)
        else:
            self._content.add(self._content.position, data)

    def _add_pieces(self, pieces: list[Piece], new: ChoiceDelta) -> None:
        assert self._content_start is not None
        for piece in pieces:
            if isinstance(piece, Content):
                self._content.add(self._content_start + piece.start, piece.data)
                if self.stopped:
                    return
            elif isinstance(piece, CallStart):
                self._content.begin_call()
                self.has_calls = True
                new.calls.append(piece)
            else:
                _append(new.calls, piece)


def _append(calls: list[CallStart | CallText], piece: CallText) -> None:
    last = calls[-1] if calls else None
    if isinstance(last, CallText):
        calls[-1] = CallText(piece.index, last.text + piece.text)
    else:
        calls.append(piece)
