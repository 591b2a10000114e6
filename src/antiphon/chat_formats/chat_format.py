"""The notation of a model family, as data: no Jinja, no tokens, no HTTP.

The form of calls is ``section_start call (separator call)* section_end``. A call is ``call_start BODY call_end``; BODY
depends on the notation's shape:

- ``object``: a JSON object with ``name_key`` and ``arguments_key`` (and the key of ``call_id``).
- ``named``: ``NAME [id] name_end ARGUMENTS``. The arguments are a JSON object.
- ``xml``: ``NAME [id] name_end (parameters.start KEY parameters.name_end VALUE parameters.end)*``.
- ``pythonic``: ``NAME name_end (KEY key_end VALUE (value_separator KEY key_end VALUE)*)?``. The values are Python
  literals; parsers also accept ``true``, ``false``, ``null`` and bare keys.

A list of objects has the shape ``object`` and brackets in the section's texts. Grammars write every text exactly;
for parsers the whitespace at both ends of a text is optional. An ``end`` text may be missing at the end of an answer,
because it may be an end-of-generation token.
"""

from typing import Literal

from msgspec import Struct


class ReasoningMarkers(Struct, frozen=True):
    """The texts that the model writes before and after its reasoning.

    A marker is plain text (``<think>``), a control token (``[THINK]``) or a sequence of both, as in channels.
    """

    start: str
    end: str
    end_prefix: str = ""
    """A prefix of ``end`` that ends the reasoning. The rest of ``end`` follows, or for example a call in another
    channel. Empty: only the whole ``end`` ends the reasoning."""


class CallID(Struct, frozen=True, kw_only=True):
    """An identifier within a call. The parser drops it, because the server gives ids."""

    text: str
    """The id's key (shape ``object``), or the text between name and id."""
    pattern: str
    """A regular expression of the id, valid in Python and llguidance; in an object the id is in quotes."""
    before_name: bool = False
    optional: bool = False
    """Parser and grammar accept calls with and without the id."""


class ParameterTags(Struct, frozen=True, kw_only=True):
    """The tags of one parameter, shape ``xml``. A string is raw text up to ``end``, any other value is JSON."""

    start: str
    name_end: str
    """The text between the key and a string; between the key and any value if ``json_name_ends`` is empty."""
    json_name_ends: tuple[str, ...] = ()
    """The texts between the key and a JSON value, if the notation marks JSON values; any of them."""
    end: str
    """The text after the value; ``{key}`` in it stands for the key."""


Shape = Literal["object", "named", "xml", "pythonic"]


class ToolNotation(Struct, frozen=True, kw_only=True):
    """The notation of a family's tool calls, for the grammar builder and the parser; its form is in the module."""

    shape: Shape
    triggers: tuple[str, ...]
    """Texts that begin a section of calls in free text, each a prefix of the section. A grammar must not let free text
    go on after one of them (with ``leading_only``: after one at the start)."""
    leading_only: bool = False
    """A trigger counts only at the start of the content, after optional whitespace: it is common in other text."""
    parallel: bool = True
    """A section can hold several calls."""
    section_start: str = ""
    section_end: str = ""
    call_start: str = ""
    call_end: str = ""
    separator: str = ""
    name_key: str = "name"
    arguments_key: str = "arguments"
    name_end: str = ""
    call_id: CallID | None = None
    parameters: ParameterTags | None = None
    """Only for the shape ``xml``."""
    key_end: str = "="
    """Shape ``pythonic``: the text between key and value, at every depth."""
    value_separator: str = ", "
    """Shape ``pythonic``: the text between a value and the next key, at every depth."""
    quote: str = ""
    """Shape ``pythonic``: the delimiter of strings, which have no escapes. Empty: Python's ``'`` and ``"``."""
    content_marks: tuple[str, ...] = ()
    """Texts around the content that the parser drops outside of calls. The model writes the first one before its
    content."""
    alternatives: "tuple[ToolNotation, ...]" = ()
    """Other notations that the model may choose, each with its triggers. The parser reads them and a grammar admits
    them in free text. Forced calls use the main notation."""


class CustomNotation(Struct, frozen=True, kw_only=True):
    """The notation of custom tools in every family: ``start NAME name_end INPUT``, the last item of the answer.

    INPUT ends with the generation, because the tool's grammar may admit any end text. ``start`` is a trigger anywhere
    in the content and after a section of function calls.
    """

    start: str
    name_end: str


CUSTOM_CALL = CustomNotation(start='<custom_tool_call name="', name_end='">\n')

HERMES = ToolNotation(
    shape="object",
    triggers=("<tool_call>",),
    call_start="<tool_call>\n",
    call_end="\n</tool_call>",
    separator="\n",
)
"""The generic notation, for families whose template has no tools."""


def tool_markers(notation: ToolNotation) -> tuple[str, ...]:
    """Return every text, not empty, of the notation, its alternatives and the notation of custom tools."""
    tags, call_id = notation.parameters, notation.call_id
    texts = {
        *notation.triggers,
        *notation.content_marks,
        notation.section_start,
        notation.section_end,
        notation.call_start,
        notation.call_end,
        notation.separator,
        notation.name_end,
        notation.quote,
        call_id.text if call_id else "",
        *((tags.start, tags.name_end, *tags.json_name_ends, tags.end) if tags else ()),
        CUSTOM_CALL.start,
        CUSTOM_CALL.name_end,
    }
    texts.update(text for other in notation.alternatives for text in tool_markers(other))
    return tuple(sorted(texts - {""}))


class ChatFormat(Struct, frozen=True):
    """The notations of one family."""

    name: str
    reasoning: ReasoningMarkers | None = None
    """None if the template has no reasoning."""
    tools: ToolNotation = HERMES
    foreign: bool = False
    """Answers may begin with calls in other notations; not if an operator has chosen the family."""


class FamilyMark(Struct, frozen=True):
    """The texts that occur together only in the chat templates of one family and of those listed after it."""

    name: str
    texts: tuple[str, ...]
