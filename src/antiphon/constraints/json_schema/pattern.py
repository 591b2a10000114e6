r"""Translates patterns from the regular expressions of ECMA-262, as in JSON Schema, to those of llguidance.

The two differ in the meaning of ``.``, ``\s``, ``\w`` and ``[^]``, in escapes, and in the operators of llguidance
inside brackets. The translator reads a pattern by ECMA's rules (with the ``u`` flag, and literal braces and brackets as
in Annex B) and writes explicit code points, which both read alike.

ECMA-262 and Python's ``re`` disagree on U+FEFF in ``\s``, and on the digits and letters of other scripts in ``\D`` and
``\W``. Only texts on which both agree are admitted, because a client may validate with either. Look-around,
back-references and word boundaries are refused: llguidance's automata lack them. JSON Schema's patterns are unanchored.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError, UnenforceableError

MAX_PATTERN_LENGTH: Final = 8192
MAX_NESTING: Final = 50
MAX_REPETITION: Final = 10_000

Ranges = tuple[tuple[int, int], ...]

_LAST: Final = 0x10FFFF
_SURROGATES: Final = (0xD800, 0xDFFF)
_DIGITS: Final[Ranges] = ((0x30, 0x39),)
_WORD: Final[Ranges] = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_NEWLINES: Final[Ranges] = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
_SPACES: Final[Ranges] = (
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
)
_CLASSES: Final[dict[str, Ranges]] = {"d": _DIGITS, "w": _WORD, "s": _SPACES}
"""Code points that both ECMA-262 and Python take for a digit, a word character or white space."""
_WIDE_CLASSES: Final = {
    "d": "\\p{Nd}",
    "w": "\\p{L}\\p{N}\\p{M}_",
    "s": "\\s\\x{FEFF}\\x{1C}-\\x{1F}\\x{85}",
}
"""Code points that either takes for one; the complements exclude them."""
_CONTROLS: Final = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D}
_PROPERTY: Final = re.compile(r"\{((?:General_Category=|gc=|Script=|sc=)?[A-Z][A-Za-z_]*)\}")
_QUANTIFIER: Final = re.compile(r"\*|\+|\?|\{(\d+)(?:(,)(\d*))?\}")
_GROUP_NAME: Final = re.compile(r"\?<[A-Za-z_$][\w$]*>")
_HEXADECIMAL: Final = (
    re.compile(r"u\{([0-9A-Fa-f]{1,6})\}"),
    re.compile(r"u([0-9A-Fa-f]{4})"),
    re.compile(r"x([0-9A-Fa-f]{2})"),
)
_LOW_SURROGATE: Final = re.compile(r"\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})")


def translate(pattern: str) -> str:
    """Return the pattern in llguidance's syntax. Raises :class:`SchemaRefusedError`."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise UnenforceableError(f"'pattern' is longer than {MAX_PATTERN_LENGTH} characters")
    return _Translator(pattern).translate()


def any_text(min_length: int, max_length: int | None) -> str:
    """Return an anchored pattern of the texts whose length in code points is within bounds."""
    return f"^{_spell_class(((0, _LAST),))}{{{min_length},{'' if max_length is None else max_length}}}$"


def any_text_except(texts: Iterable[str]) -> str:
    """Return an anchored pattern of the texts that are none of ``texts``."""
    tree: dict[str, object] = {}
    for text in texts:
        node = tree
        for character in text:
            node = node.setdefault(character, {})  # type: ignore[assignment]
        node[""] = {}
    pieces: list[str] = []
    _write_complement(tree, pieces)
    return f"^{''.join(pieces)}$"


def _write_complement(tree: dict[str, object], pieces: list[str]) -> None:
    """Append a pattern of the texts that leave the tree, or end in it before the end of an excluded text."""
    characters = [key for key in tree if key]
    anything = _spell_class(((0, _LAST),))
    other = _spell_class(tuple((ord(key), ord(key)) for key in characters), negated=True)
    pieces.append(f"(?:{other}{anything}*")
    for key in characters:
        pieces.append(f"|{_spell(ord(key))}")
        _write_complement(tree[key], pieces)  # type: ignore[arg-type]
    pieces.append(")" if "" in tree else "|)")


def _spell(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\x{{{code:X}}}"


def _spell_class(ranges: Ranges, *, negated: bool = False, names: Iterable[str] = ()) -> str:
    """Return a class without surrogates, which UTF-8 lacks; an empty class is the complement of all characters."""
    pieces = list(names)
    for low, high in ranges:
        if low < _SURROGATES[0]:
            pieces.append(f"\\x{{{low:X}}}-\\x{{{min(high, _SURROGATES[0] - 1):X}}}")
        if high > _SURROGATES[1]:
            pieces.append(f"\\x{{{max(low, _SURROGATES[1] + 1):X}}}-\\x{{{high:X}}}")
    if not pieces:
        return _spell_class(((0, _LAST),), negated=not negated)
    return f"[{'^' if negated else ''}{''.join(pieces)}]"


def _named_class(letter: str, *, inverted: bool) -> str:
    """Return the class of an escape: wide if one complement applies to it, narrow otherwise."""
    kind, complement = letter.lower(), letter.isupper()
    if complement == inverted:
        return _spell_class(_CLASSES[kind], negated=complement)
    return f"[{'^' if complement else ''}{_WIDE_CLASSES[kind]}]"


class _Translator:
    """A recursive-descent parser of one pattern that writes the translation as it reads."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._position = 0
        self._depth = 0
        self._anchors = 0

    def translate(self) -> str:
        result = self._alternatives()
        if self._position < len(self._pattern):
            self._refuse("has an unmatched ')'")
        return result

    def _refuse(self, reason: str) -> NoReturn:
        """Refuse a malformed pattern."""
        raise SchemaRefusedError(f"'pattern' {reason}")

    def _give_up(self, reason: str) -> NoReturn:
        """Refuse a pattern that is well-formed and cannot be enforced."""
        raise UnenforceableError(f"'pattern' {reason}")

    def _peek(self) -> str:
        return self._pattern[self._position : self._position + 1]

    def _take(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        match = expression.match(self._pattern, self._position)
        if match is not None:
            self._position = match.end()
        return match

    def _accept(self, text: str) -> bool:
        found = self._pattern.startswith(text, self._position)
        self._position += len(text) if found else 0
        return found

    def _alternatives(self) -> str:
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._give_up(f"has more than {MAX_NESTING} nested groups")
        options = [self._sequence()]
        while self._accept("|"):
            options.append(self._sequence())
        self._depth -= 1
        return "|".join(options)

    def _sequence(self) -> str:
        pieces: list[str] = []
        while self._peek() not in {"", "|", ")"}:
            anchors = self._anchors
            atom = self._atom()
            quantifier = self._take(_QUANTIFIER)
            if quantifier is None:
                pieces.append(atom)
                continue
            if self._anchors > anchors:
                self._give_up("repeats an anchor")
            self._accept("?")  # a lazy quantifier matches the same texts
            pieces.append(f"(?:{atom}){self._repetition(quantifier)}")
        return "".join(pieces)

    def _repetition(self, quantifier: re.Match[str]) -> str:
        low, comma, high = quantifier.groups()
        if low is None:
            return quantifier[0]
        if max(int(low), int(high or 0)) > MAX_REPETITION:
            self._give_up(f"repeats more than {MAX_REPETITION} times")
        if high and int(low) > int(high):
            self._refuse("has a repetition out of order")
        return f"{{{int(low)}{comma or ''}{int(high) if high else ''}}}"

    def _atom(self) -> str:
        character = self._peek()
        if self._take(_QUANTIFIER) is not None:
            self._refuse("has nothing to repeat")
        self._position += 1
        special: dict[str, Callable[[], str]] = {
            "(": self._group,
            "[": self._class,
            "\\": self._escape,
            ".": lambda: _spell_class(_NEWLINES, negated=True),
            "^": lambda: self._anchor("^"),
            "$": lambda: self._anchor("$"),
        }
        return special[character]() if character in special else _spell(ord(character))

    def _anchor(self, anchor: str) -> str:
        self._anchors += 1
        return anchor

    def _group(self) -> str:
        if self._peek() == "?" and not self._accept("?:") and self._take(_GROUP_NAME) is None:
            self._give_up("uses look-around or flags, which are not supported")
        inner = self._alternatives()
        if not self._accept(")"):
            self._refuse("has an unclosed group")
        return f"(?:{inner})"

    def _escape(self) -> str:
        if self._peek() in {"b", "B"}:
            self._give_up("uses the word boundary '\\b', which is not supported")
        if re.match(r"[1-9]|k<", self._pattern[self._position :]):
            self._give_up("uses a back-reference, which is not supported")
        return self._spell_member(self._member_escape(inverted=False))

    def _class(self) -> str:
        negated = self._accept("^")
        ranges: list[tuple[int, int]] = []
        names: list[str] = []
        while not self._accept("]"):
            low = self._member(inverted=negated)
            high = self._member(inverted=negated) if self._is_range() else low
            if isinstance(low, int) and isinstance(high, int):
                if low > high:
                    self._refuse("has a range out of order")
                ranges.append((low, high))
                continue
            for member in (low,) if low is high else (low, 0x2D, high):
                names += [self._spell_member(member)]
        return _spell_class(tuple(ranges), negated=negated, names=names)

    def _is_range(self) -> bool:
        return not self._pattern.startswith("-]", self._position) and self._accept("-")

    def _member(self, *, inverted: bool) -> int | str:
        character = self._peek()
        if not character:
            self._refuse("has an unclosed class")
        self._position += 1
        if character != "\\":
            return ord(character)
        if self._accept("b"):
            return 0x08
        return self._member_escape(inverted=inverted)

    def _spell_member(self, member: int | str) -> str:
        if isinstance(member, str):
            return member
        return _spell_class(((member, member),)) if _SURROGATES[0] <= member <= _SURROGATES[1] else _spell(member)

    def _member_escape(self, *, inverted: bool) -> int | str:
        """Read an escape after its backslash; return a code point, or a class as it is written."""
        for expression in _HEXADECIMAL:
            if match := self._take(expression):
                return self._code_point(int(match[1], 16))
        character = self._peek()
        self._position += 1
        if character in {"p", "P"} and (name := self._take(_PROPERTY)):
            return f"\\{character}{{{name[1]}}}"
        if character.lower() in _CLASSES:
            return _named_class(character, inverted=inverted)
        if character == "c" and self._peek().isascii() and self._peek().isalpha():
            self._position += 1
            return ord(self._pattern[self._position - 1]) % 32
        if character == "0" and not self._peek().isdigit():
            return 0
        if not character or (character.isalnum() and character not in _CONTROLS):
            self._refuse(f"has an escape that ECMA-262 does not define: '\\{character}'")
        return _CONTROLS.get(character, ord(character))

    def _code_point(self, code: int) -> int:
        """Return a code point; join it with a low surrogate that follows a high one."""
        if code > _LAST:
            self._refuse("names a character beyond Unicode")
        if _SURROGATES[0] <= code < 0xDC00 and (low := self._take(_LOW_SURROGATE)):  # noqa: PLR2004 (first low one)
            return 0x10000 + ((code - _SURROGATES[0]) << 10) + int(low[1], 16) - 0xDC00
        return code
