"""One choice on its way from tokens to text: what is reasoning, what is content, what is a call of a tool.

Tokens are taken one by one, so that what they give does not depend on how the engine grouped them into events.
"""

import os
from collections.abc import Callable

from msgspec import Struct

from antiphon.assembly.content import ContentText
from antiphon.assembly.detokenizer import Detokenizer, Vocabulary
from antiphon.assembly.reasoning_parser import ReasoningParser
from antiphon.assembly.token_logprobs import ContentLogprobs, TokenTexts
from antiphon.assembly.tool_parser import CallStart, CallText, Content, Piece, ToolParser
from antiphon.chat_formats.answer_calls import AnswerCalls
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
    """What the request and the model's chat format ask of the assembly."""

    n: int = 1
    stop: tuple[str, ...] = ()
    reasoning: ReasoningMarkers | None = None
    reasoning_open: bool = False
    """The prompt ends inside an open reasoning block."""
    logprobs: bool = False
    tools: AnswerCalls | None = None
    """None: everything after the reasoning is content."""
    new_call_id: Callable[[], str] = new_call_id


class Gain(Struct):
    """What a choice gained from tokens."""

    reasoning: str = ""
    content: str = ""
    entries: list[TokenLogprob] = []
    """Of tokens whose content is out."""
    calls: list[CallStart | CallText] = []
    """Adjacent texts are joined."""


class ChoiceState:
    """One answer on its way from tokens to text."""

    __slots__ = (
        "_calling",
        "_content",
        "_content_start",
        "_entries",
        "_markers",
        "_parser",
        "_plain",
        "_reasoning_text",
        "_tool_parser",
        "_vocabulary",
        "accepted_prediction_tokens",
        "begun",
        "calls",
        "closed",
        "completion_tokens",
        "custom_calls",
        "finish_reason",
        "index",
        "rejected_prediction_tokens",
    )

    def __init__(self, index: int, options: AssemblyOptions, vocabulary: Vocabulary, texts: TokenTexts) -> None:
        reasoning, tools = options.reasoning, options.tools
        self.index = index
        self.begun = self.closed = False
        self.finish_reason: FinishReason | None = None
        self.completion_tokens = self.accepted_prediction_tokens = self.rejected_prediction_tokens = 0
        self.calls = False
        """Whether a call has begun before a stop string."""
        self.custom_calls: set[int] = set()
        """Indices of the calls whose text is the input of a custom tool."""
        self._vocabulary = vocabulary
        self._reasoning_text = Detokenizer()
        self._parser = ReasoningParser(reasoning, opened=options.reasoning_open) if reasoning else None
        self._calling = tools
        self._tool_parser = ToolParser(tools.notation, tools.tools, opening=tools.opening) if tools else None
        self._markers = (
            *((reasoning.start, reasoning.end) if reasoning else ()),
            *(tool_markers(tools.notation) if tools else ()),
        )
        self._entries = ContentLogprobs(texts) if options.logprobs else None
        self._content = ContentText(options.stop, self._entries, holds_space=tools is not None)
        self._plain = not (tools or options.stop or options.logprobs)
        self._content_start: int | None = None
        if reasoning is None:
            self._begin_content(0)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reasoning, its markers included."""
        return self._parser.reasoning_tokens if self._parser else 0

    @property
    def stopped(self) -> bool:
        """A stop string is complete."""
        return self._content.stopped

    @property
    def silent(self) -> bool:
        """Calls could have come, and neither they nor content did."""
        return self._calling is not None and not self.calls and not self._content.spoken

    def push(self, token_ids: list[int], logprobs: list[TokenLogprobs]) -> Gain:
        """Take tokens, up to the one that completes a stop string."""
        gain, entries = Gain(), self._entries
        assert entries is None or len(logprobs) == len(token_ids), f"{len(logprobs)} == {len(token_ids)}"
        for position, token_id in enumerate(token_ids):
            self.completion_tokens += 1
            data = self._data(token_id)
            if entries is not None:
                entries.add(token_id, data, logprobs[position])
            if self._content_start is None:
                data = self._reason(data, gain)
            self._answer(data, gain)
            if self.stopped:
                break
        self._take(gain, final=self.stopped)
        return gain

    @property
    def plain(self) -> bool:
        """Whether nothing but content comes, and nothing is looked for in it: :meth:`pass_on` does."""
        return self._plain and self._content_start is not None

    def pass_on(self, token_ids: list[int]) -> str:
        """Take tokens of a choice that is ``plain``; return the text that they complete."""
        return self._content.pass_on(b"".join(map(self._vocabulary.token_bytes, token_ids)))

    def flush(self) -> Gain:
        """End the answer: give out everything that was held back."""
        gain = Gain()
        if self._content_start is None and self._parser is not None:
            thought, data = self._parser.flush()
            gain.reasoning = self._reasoning_text.push(thought) + self._reasoning_text.flush()
            if self._parser.content_start is not None:
                self._begin_content(self._parser.content_start)
            self._answer(data, gain)
        if self._tool_parser is not None and self._content_start is not None and not self.stopped:
            self._pieces(self._tool_parser.end(), gain)
        self._content.end()
        self._take(gain, final=True)
        return gain

    def _take(self, gain: Gain, *, final: bool) -> None:
        if self._content_start is not None:
            gain.content, gain.entries = self._content.take(final=final)

    def _data(self, token_id: int) -> bytes:
        """Return the token's bytes: those of its name for a control token that is part of a marker here."""
        data = self._vocabulary.token_bytes(token_id)
        if not data and (self._content_start is None or self._tool_parser is not None):
            text = self._vocabulary.token_text(token_id)
            return text.encode() if any(text in marker for marker in self._markers) else data
        return data

    def _begin_content(self, start: int) -> None:
        self._content_start = start
        self._content.begin(start)

    def _reason(self, data: bytes, gain: Gain) -> bytes:
        """Take bytes of reasoning; return the content behind it."""
        assert self._parser is not None
        thought, content = self._parser.push(data)
        if thought:
            gain.reasoning += self._reasoning_text.push(thought)
        if self._parser.content_start is not None:
            gain.reasoning += self._reasoning_text.flush()
            self._begin_content(self._parser.content_start)
        elif self._entries is not None and self._parser.reasoning:
            self._entries.clear()
        return content

    def _answer(self, data: bytes, gain: Gain) -> None:
        if not data:
            return
        if self._tool_parser is not None:
            self._pieces(self._tool_parser.push(data), gain)
        else:
            self._content.add(self._content.position, data)

    def _pieces(self, pieces: list[Piece], gain: Gain) -> None:
        assert self._content_start is not None
        for piece in pieces:
            if isinstance(piece, Content):
                self._content.add(self._content_start + piece.start, piece.data)
                if self.stopped:
                    return
            elif isinstance(piece, CallStart):
                self._content.call()
                self.calls = True
                gain.calls.append(piece)
            elif isinstance(piece, CallText):
                _append(gain.calls, piece)


def _append(calls: list[CallStart | CallText], piece: CallText) -> None:
    last = calls[-1] if calls else None
    if isinstance(last, CallText):
        calls[-1] = CallText(piece.index, last.text + piece.text)
    else:
        calls.append(piece)
