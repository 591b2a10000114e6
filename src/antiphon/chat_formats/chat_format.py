"""How a model family writes, as data: no Jinja, no tokens, no HTTP.

Calls are written ``section_start call (separator call)* section_end`` and a call is ``call_start BODY call_end``, where
BODY depends on the notation's shape:

- ``object``: a JSON object with ``name_key`` and ``arguments_key`` (and the key of ``call_id``).
- ``named``: ``NAME [id] name_end ARGUMENTS``, the arguments a JSON object.
- ``xml``: ``NAME [id] name_end (parameters.start KEY parameters.name_end VALUE parameters.end)*``.
- ``pythonic``: ``NAME name_end (KEY key_end VALUE (value_separator KEY key_end VALUE)*)?``, the values Python literals;
  ``true``, ``false``, ``null`` and bare keys are read as well.

Lists of objects are the shape ``object`` with brackets in the section's texts. Grammars write every text as it stands
here; parsers read the whitespace at the ends of these texts as optional. An ``end`` text may be missing at the end of
an answer, because it may be an end-of-generation token.
"""

from typing import Literal

from msgspec import Struct


class ReasoningMarkers(Struct, frozen=True):
    """The texts around the reasoning that comes before an answer, as the model writes them.

    They may be plain text (``<think>``), the text of control tokens (``[THINK]``) or a run of both, as in channels.
    """

    start: str
    end: str
    end_prefix: str = ""
    """Start of ``end`` that ends the reasoning already: what follows is the rest of ``end``, or something else than
    content, as a call in a channel of its own. Empty: the whole of ``end``."""


class CallID(Struct, frozen=True, kw_only=True):
    """An identifier that the family writes within a call: read and dropped, because the server gives its own."""

    text: str
    """Key of it (shape ``object``), or the text between name and id."""
    pattern: str
    """Regular expression of the id, a subset of Python's and llguidance's; in an object it is within quotes."""
    before_name: bool = False
    optional: bool = False
    """Both calls with and without it are read; the grammar admits both."""


class ParameterTags(Struct, frozen=True, kw_only=True):
    """How a call of the shape ``xml`` writes one parameter. Strings are raw text up to ``end``, all else is JSON."""

    start: str
    name_end: str
    """Between key and value: of strings, and of everything when ``json_name_ends`` is empty."""
    json_name_ends: tuple[str, ...] = ()
    """Between key and value for values that are JSON, where the family tells them apart: any of these texts."""
    end: str
    """``{key}`` in it stands for the key."""


Shape = Literal["object", "named", "xml", "pythonic"]


class ToolNotation(Struct, frozen=True, kw_only=True):
    """How a family writes tool calls: data for one grammar builder and one incremental parser; see the module."""

    shape: Shape
    triggers: tuple[str, ...]
    """Texts that begin a section when free text is allowed too, each a prefix of what the section begins with. What
    holds one (or begins with one, see ``leads``) is a call, so that a grammar must not let it go on as free text."""
    leads: bool = False
    """A trigger counts only at the start of the content, whitespace aside; the triggers are too common in texts."""
    parallel: bool = True
    """The notation can write several calls."""
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
    """Of the shape ``xml``, and of no other."""
    key_end: str = "="
    """Of the shape ``pythonic``: between key and value, at every depth."""
    value_separator: str = ", "
    """Of the shape ``pythonic``: between one value and the next key, at every depth."""
    quote: str = ""
    """Of the shape ``pythonic``: what delimits strings, without escapes inside; empty: Python's ``'`` and ``"``."""
    content_marks: tuple[str, ...] = ()
    """Texts around content that are not content, dropped wherever they stand outside of calls. The first is what the
    model writes before its content."""
    alternatives: "tuple[ToolNotation, ...]" = ()
    """Other ways in which the model may write calls of its own accord, each with its triggers. They are read as well,
    and a grammar admits them in free text; forced calls use the notation that holds them."""


class CustomNotation(Struct, frozen=True, kw_only=True):
    """How every family writes the call of a custom tool: ``start NAME name_end INPUT``, the last item of the answer.

    INPUT runs to the end of generation: no text inside it can end it, whatever the tool's grammar admits. ``start`` is
    a trigger anywhere in the content and behind the calls of functions; then no section of calls is open.
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
"""The generic notation: for families whose template knows no tools."""


def tool_markers(notation: ToolNotation) -> tuple[str, ...]:
    """Return every text with which the notation and that of custom tools mark something, none of them empty."""
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
    """The notation of one family."""

    name: str
    reasoning: ReasoningMarkers | None = None
    """None when the template knows no reasoning."""
    tools: ToolNotation = HERMES


class FamilyMark(Struct, frozen=True):
    """How to recognise a family: every one of ``texts`` occurs in its chat template."""

    name: str
    texts: tuple[str, ...]
