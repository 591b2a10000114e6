"""The conversation that a request carries: messages tagged by role, content parts tagged by type.

Reference: the message and content-part parameters of chat completions. Optional attributes are ``None`` when the
field is absent or null.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from antiphon.protocol.bounds import (
    MAX_ANNOTATIONS,
    MAX_CALLED_NAME,
    MAX_ID,
    MAX_NAME,
    MAX_PARTS,
    MAX_TOOL_CALLS,
)
from antiphon.protocol.responses import Annotation

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
"""Of a participant."""
CalledName = Annotated[str, Meta(min_length=1, max_length=MAX_CALLED_NAME)]
CallID = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]


class PromptCacheBreakpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Marks the end of a reusable prompt prefix."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class TextPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Text."""

    text: str
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class TextOnlyPart(TextPart, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=False):
    """A :class:`TextPart` where the reference allows no other part.

    msgspec does not ask for the tag of a Struct that stands alone; a plain ``type`` field makes it required.
    """

    type: Literal["text"]


class RefusalPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="refusal"):
    """A refusal that the model gave earlier."""

    refusal: str


class ImageURL(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``url`` is an address or a data URL."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageURL
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class InputAudio(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``data`` is base64."""

    data: str
    format: Literal["wav", "mp3"]


class InputAudioPart(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="input_audio"
):
    """A recording."""

    input_audio: InputAudio
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class FileReference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file by id, or by name and base64 data."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="file"):
    """A file."""

    file: FileReference
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


UserPart = TextPart | ImagePart | InputAudioPart | FilePart
AssistantPart = TextPart | RefusalPart
ContentPart = TextPart | RefusalPart | ImagePart | InputAudioPart | FilePart

TextContent = str | Annotated[list[TextOnlyPart], Meta(min_length=1, max_length=MAX_PARTS)]
UserContent = str | Annotated[list[UserPart], Meta(min_length=1, max_length=MAX_PARTS)]
AssistantContent = str | Annotated[list[AssistantPart], Meta(min_length=1, max_length=MAX_PARTS)]


class CalledFunction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A function call in the history. ``arguments`` is what the model wrote: JSON text, as a rule."""

    name: CalledName
    arguments: str


class CalledCustomTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A custom tool's call in the history."""

    name: CalledName
    input: str


class MessageFunctionToolCall(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function"
):
    """A function tool call in the history."""

    type: ClassVar[Literal["function"]] = "function"
    id: CallID
    function: CalledFunction


class MessageCustomToolCall(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custom"
):
    """A custom tool call in the history."""

    type: ClassVar[Literal["custom"]] = "custom"
    id: CallID
    custom: CalledCustomTool


MessageToolCall = MessageFunctionToolCall | MessageCustomToolCall


class AudioReference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An earlier audio answer by id."""

    id: str


class DeveloperMessage(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="developer"
):
    """Instructions of the developer; replaces ``system`` for newer models."""

    role: ClassVar[Literal["developer"]] = "developer"
    content: TextContent
    name: Name | None = None


class SystemMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="system"):
    """Instructions of the developer."""

    role: ClassVar[Literal["system"]] = "system"
    content: TextContent
    name: Name | None = None


class UserMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="user"):
    """What an end user says."""

    role: ClassVar[Literal["user"]] = "user"
    content: UserContent
    name: Name | None = None


class AssistantMessage(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="assistant"
):
    """What the model answered.

    ``reasoning_content`` and ``annotations`` are extensions: our own answers carry them, and clients append an answer
    to the conversation as they got it. ``annotations`` describe ``content``; no template takes them.
    """

    role: ClassVar[Literal["assistant"]] = "assistant"
    content: AssistantContent | None = None
    refusal: str | None = None
    name: Name | None = None
    tool_calls: Annotated[list[MessageToolCall], Meta(min_length=1, max_length=MAX_TOOL_CALLS)] | None = None
    function_call: CalledFunction | None = None
    audio: AudioReference | None = None
    reasoning_content: str | None = None
    annotations: Annotated[list[Annotation], Meta(max_length=MAX_ANNOTATIONS)] | None = None


class ToolMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="tool"):
    """The result of the tool call ``tool_call_id``."""

    role: ClassVar[Literal["tool"]] = "tool"
    content: TextContent
    tool_call_id: CallID


class FunctionMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="function"):
    """The result of a function (deprecated in favour of :class:`ToolMessage`). ``content`` may be null."""

    role: ClassVar[Literal["function"]] = "function"
    content: str | None
    name: CalledName


Message = DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
