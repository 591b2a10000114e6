"""The rules of function calls, in the notation of a model family."""

import json
import re
from typing import Final

from antiphon.chat_formats.chat_format import CallID, ParameterTags, ToolNotation
from antiphon.chat_formats.value_kinds import value_kind
from antiphon.constraints.lark import Lark, Markers, alternatives, quoted, sequence
from antiphon.constraints.tool_parameters import CallableFunction, Property, parameter_lists, raw_string

_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A name of a keyword argument that needs no quotes."""


class CallRules:
    """Writes the rules of calls in one notation into a grammar; the names of the rules begin with ``prefix``."""

    def __init__(self, lark: Lark, markers: Markers, notation: ToolNotation, prefix: str = "") -> None:
        self._lark = lark
        self._markers = markers
        self._notation = notation
        self._prefix = prefix
        self._opening = notation.section_start + notation.call_start + self._before_name()

    def section(self, functions: list[CallableFunction], *, parallel: bool, written: str = "") -> str:
        """Write one call or, with ``parallel``, several, without the beginning ``written``, which is already there."""
        notation = self._notation
        assert self._opening.startswith(written), f"{self._opening!r} starts with {written!r}"
        last = self._markers.without_end_tokens(notation.call_end) if not notation.section_end else notation.call_end
        bodies = [self._call(function, index, last) for index, function in enumerate(functions)]
        call = self._lark.rule(f"{self._prefix}call", " | ".join(bodies))
        first = sequence(self._markers.literal(self._opening[len(written) :]), self._id_before(), call)
        more = ""
        if parallel and notation.parallel:
            again = notation.separator + notation.call_start + self._before_name()
            more = f"({sequence(self._markers.literal(again), self._id_before(), call)})*"
        return sequence(first, more, self._markers.literal(self._markers.without_end_tokens(notation.section_end)))

    def _call(self, function: CallableFunction, index: int, end: str) -> str:
        """Write a call from its name on."""
        write = {"object": self._object, "named": self._named, "xml": self._xml, "pythonic": self._pythonic}
        return write[self._notation.shape](function, f"{self._prefix}function_{index}", end)

    def _before_name(self) -> str:
        """Return the text between the call's start and its name, or its id if that comes first."""
        notation, call_id = self._notation, self._notation.call_id
        if notation.shape != "object":
            return ""
        key = call_id.text if call_id is not None and call_id.before_name else notation.name_key
        return f'{{"{key}": "'

    def _id_before(self) -> str:
        """Write an id before the name, or nothing."""
        call_id = self._notation.call_id
        if call_id is None or not call_id.before_name:
            return ""
        separator = f'", "{self._notation.name_key}": "' if self._notation.shape == "object" else call_id.text
        return sequence(_id(call_id), self._markers.literal(separator))

    def _object(self, function: CallableFunction, name: str, end: str) -> str:
        head = f'{function.name}", "{self._notation.arguments_key}": '
        call_id = self._notation.call_id
        tail = self._markers.literal("}" + end)
        if call_id is not None and not call_id.before_name:
            with_id = sequence(quoted(f', "{call_id.text}": "'), _id(call_id), self._markers.literal('"}' + end))
            tail = f"({with_id} | {tail})" if call_id.optional else with_id
        return sequence(self._markers.literal(head), self._arguments(function, name), tail)

    def _named(self, function: CallableFunction, name: str, end: str) -> str:
        return sequence(self._name(function.name), self._arguments(function, name), self._markers.literal(end))

    def _name(self, name: str) -> str:
        """Write the name and the text up to the arguments."""
        notation, call_id = self._notation, self._notation.call_id
        plain = self._markers.literal(name + notation.name_end)
        if call_id is None or call_id.before_name:
            return plain
        name_end = self._markers.literal(notation.name_end)
        with_id = sequence(self._markers.literal(name + call_id.text), _id(call_id), name_end)
        return f"({with_id} | {plain})" if call_id.optional else with_id

    def _arguments(self, function: CallableFunction, name: str) -> str:
        if function.schema is None:
            return quoted("{}")
        return self._lark.rule(name, f"%json {function.schema}")

    def _xml(self, function: CallableFunction, name: str, end: str) -> str:
        tags = self._notation.parameters
        assert tags is not None, f"a notation of the shape xml has tags: {self._notation}"
        lists = []
        for number, items in enumerate(parameter_lists(function)):
            written = [self._tagged(tags, item, f"{name}_{number}_{i}") for i, item in enumerate(items)]
            lists.append(sequence(*written) or '""')
        return sequence(self._name(function.name), alternatives(lists), self._markers.literal(end))

    def _tagged(self, tags: ParameterTags, item: Property, name: str) -> str:
        item.check_key(*(text.split()[0] for text in (tags.name_end, *tags.json_name_ends)))
        end = tags.end.replace("{key}", item.key)
        start = tags.start + item.key
        if value_kind(item.types) == "string":
            value = self._markers.until(self._lark, name, raw_string(item, end.strip()), end)
            body = sequence(self._markers.literal(start + tags.name_end), value)
        else:
            heads = [self._markers.literal(start + name_end) for name_end in _json_name_ends(tags, item)]
            value = self._lark.rule(name, f"%json {item.document}")
            body = sequence(alternatives(heads), value, self._markers.literal(end))
        return body if item.required else f"({body})?"

    def _pythonic(self, function: CallableFunction, name: str, end: str) -> str:
        lists = [self._keywords(items, f"{name}_{number}") for number, items in enumerate(parameter_lists(function))]
        opening = self._markers.literal(function.name + self._notation.name_end)
        return sequence(opening, alternatives(lists), self._markers.literal(end))

    def _keywords(self, items: list[Property], name: str) -> str:
        """Write keyword arguments, from the last to the first: ``first`` begins the list, ``rest`` follows another."""
        first, rest = '""', ""
        for number, item in reversed(list(enumerate(items))):
            value = self._value(item, f"{name}_{number}")
            bare = _BARE.fullmatch(item.key) is not None
            key = (item.key if bare else json.dumps(item.key)) + self._notation.key_end
            alone = sequence(self._markers.literal(key), value, rest)
            another = sequence(self._markers.literal(self._notation.value_separator + key), value)
            first = self._lark.rule(f"{name}_first_{number}", alone if item.required else f"{alone} | {first}")
            rest = sequence(another if item.required else f"({another})?", rest)
            rest = self._lark.rule(f"{name}_rest_{number}", rest)
        return first

    def _value(self, item: Property, name: str) -> str:
        quote = self._notation.quote
        if not quote or value_kind(item.types) != "string" or not item.types:
            return self._lark.rule(name, f"%json {item.document}")
        text = self._markers.until(self._lark, name, raw_string(item, quote), quote)
        return sequence(self._markers.literal(quote), text)


def _id(call_id: CallID) -> str:
    return f"/{call_id.pattern}/"


def _json_name_ends(tags: ParameterTags, item: Property) -> tuple[str, ...]:
    """Return the texts between key and value that name one of the declared types, or all of them."""
    ends = tags.json_name_ends or (tags.name_end,)
    named = tuple(end for end in ends if any(f'"{json_type}"' in end for json_type in item.types))
    return named or ends
