"""A vocabulary, events and whole answers for the tests of the assembly."""

import msgspec

from antiphon.assembly.assembler import Assembler, AssemblerOutput, ChunkHeader
from antiphon.assembly.choice import AssemblyOptions, new_call_id
from antiphon.assembly.collector import Collector
from antiphon.chat_formats.answer_calls import AnswerCalls
from antiphon.chat_formats.chat_format import HERMES, ReasoningMarkers
from antiphon.engine.interface import Finished, FinishReason, StreamEvent, TokenEvent, TokenLogprobs
from antiphon.protocol.responses import ChatCompletion, ChatCompletionChunk

HEADER = ChunkHeader(id="chatcmpl-1", created=5, model="m", service_tier="default", system_fingerprint="fp_1")
THINK = ReasoningMarkers("<think>", "</think>")
CONTROL = "<|end|>"
TOOLS = AnswerCalls(notation=HERMES, tools={"find": {}, "run": None})
CALL = b'<tool_call>\n{"name": "find", "arguments": {"a": 1}}\n</tool_call>'


class Pieces:
    """A vocabulary made of the pieces that a test names."""

    def __init__(self, pieces: list[bytes | str]) -> None:
        self.pieces = pieces

    def token_bytes(self, token_id: int) -> bytes:
        piece = self.pieces[token_id]
        return piece if isinstance(piece, bytes) else b""

    def token_text(self, token_id: int) -> str:
        piece = self.pieces[token_id]
        return piece.decode("utf-8", "replace") if isinstance(piece, bytes) else piece


def assembler(pieces: list[bytes | str], options: AssemblyOptions | None = None) -> Assembler:
    options = options or AssemblyOptions()
    if options.new_call_id is new_call_id:
        options = msgspec.structs.replace(options, new_call_id=lambda: "call_1")
    return Assembler(HEADER, options, Pieces(pieces))


def tokens(*ids: int, index: int = 0, top: tuple[int, ...] = ()) -> TokenEvent:
    entry = TokenLogprobs(logprob=-0.25, top_ids=list(top), top_logprobs=[-0.25] * len(top))
    return TokenEvent(request_id="r", index=index, token_ids=list(ids), logprobs=[entry] * len(ids))


def finished(
    reason: FinishReason = "stop",
    *,
    index: int = 0,
    completion: int = 0,
    accepted: int = 0,
    rejected: int = 0,
    message: str = "",
) -> Finished:
    return Finished(
        request_id="r",
        index=index,
        reason=reason,
        prompt_tokens=7,
        completion_tokens=completion,
        accepted_prediction_tokens=accepted,
        rejected_prediction_tokens=rejected,
        message=message,
    )


def push_all(target: Assembler, events: list[StreamEvent]) -> tuple[list[ChatCompletionChunk], list[int]]:
    steps = [target.push(event) for event in events]
    assert [False] * (len(steps) - 1) + [True] == [step.done for step in steps]
    return [chunk for step in steps for chunk in step.chunks], [index for step in steps for index in step.aborts]


def collect(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    collector = Collector()
    for chunk in chunks:
        collector.add(chunk)
    return collector.completion()


def answer(pieces: list[bytes | str], options: AssemblyOptions, *events: StreamEvent) -> ChatCompletion:
    return collect(push_all(assembler(pieces, options), [*events])[0])


def shapes(step: AssemblerOutput) -> list[str]:
    return [msgspec.json.encode(chunk.choices).decode() for chunk in step.chunks]
