"""The messages of a request, tagged by role, and their content parts, tagged by type.

Reference: the message and content-part parameters of chat completions. An optional attribute is ``None`` if its field
is absent or null.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

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
"""The name of a participant."""
CalledName = Annotated[str, Meta(min_length=1, max_length=MAX_CALLED_NAME)]
CallID = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]


def drop_empty_lists(struct: Struct, *names: str) -> None:
    """Set those of the fields to None that hold an empty list. Call it while ``struct`` is initialised."""
    for name in names:
        if getattr(struct, name) == []:
            force_setattr(struct, name, None)


class PromptCacheBreakpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Marks the end of a reusable prompt prefix."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class TextPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A part of text."""

    text: str
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class TextOnlyPart(TextPart, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=False):
    """A :class:`TextPart` in a place where the reference allows only text.

    msgspec does not require the tag of a Struct outside a union; a plain ``type`` field makes it required.
    """

    type: Literal["text"]


class RefusalPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="refusal"):
    """An earlier refusal of the model."""

    refusal: str


class ImageURL(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image by address; ``url`` may be a data URL."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="image_url"):
    """A part with an image."""

    image_url: ImageURL
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class InputAudio(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Audio; ``data`` is base64."""

    data: str
    format: Literal["wav", "mp3"]


class InputAudioPart(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="input_audio"
):
    """A part with audio."""

    input_audio: InputAudio
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class FileReference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file by id, or by name and base64 data."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="file"):
    """A part with a file."""

    file: FileReference
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


UserPart = TextPart | ImagePart | InputAudioPart | FilePart
AssistantPart = TextPart | RefusalPart
ContentPart = TextPart | RefusalPart | ImagePart | InputAudioPart | FilePart

TextContent = str | Annotated[list[TextOnlyPart], Meta(min_length=1, max_length=MAX_PARTS)]
UserContent = str | Annotated[list[UserPart], Meta(min_length=1, max_length=MAX_PARTS)]
AssistantContent = str | Annotated[list[AssistantPart], Meta(min_length=1, max_length=MAX_PARTS)]


class CalledFunction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A function call in the history. ``arguments`` is the model's text, usually JSON."""

    name: CalledName
    arguments: str


class CalledCustomTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The name and the input of a custom tool call in the history."""

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
    """An earlier audio answer, by id."""

    id: str


class DeveloperMessage(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="developer"
):
    """Instructions of the developer; newer models use this role in place of ``system``."""

    role: ClassVar[Literal["developer"]] = "developer"
    content: TextContent
    name: Name | None = None


class SystemMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="system"):
    """Instructions of the developer."""

    role: ClassVar[Literal["system"]] = "system"
    content: TextContent
    name: Name | None = None


class UserMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="user"):
    """A message of an end user."""

    role: ClassVar[Literal["user"]] = "user"
    content: UserContent
    name: Name | None = None


class AssistantMessage(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="assistant"
):
    """An answer of the model.

    ``reasoning_content`` and ``annotations`` are extensions: this server's answers hold them, and clients append an
    answer to the conversation unchanged. ``annotations`` are not part of the prompt.
    """

    role: ClassVar[Literal["assistant"]] = "assistant"
    content: AssistantContent | None = None
    refusal: str | None = None
    name: Name | None = None
    tool_calls: Annotated[list[MessageToolCall], Meta(max_length=MAX_TOOL_CALLS)] | None = None
    function_call: CalledFunction | None = None
    audio: AudioReference | None = None
    reasoning_content: str | None = None
    annotations: Annotated[list[Annotation], Meta(max_length=MAX_ANNOTATIONS)] | None = None

    def __post_init__(self) -> None:
        """Replace an empty list of calls by None, as if the field was absent."""
        drop_empty_lists(self, "tool_calls")


class ToolMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="tool"):
    """The result of the tool call ``tool_call_id``. ``name`` is an extension: that of the tool."""

    role: ClassVar[Literal["tool"]] = "tool"
    content: TextContent
    tool_call_id: CallID
    name: CalledName | None = None


class FunctionMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="role", tag="function"):
    """The result of a function call; deprecated, replaced by :class:`ToolMessage`. ``content`` may be null."""

    role: ClassVar[Literal["function"]] = "function"
    content: str | None
    name: CalledName


Message = DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
