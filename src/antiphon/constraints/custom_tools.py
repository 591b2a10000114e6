"""The grammars of custom tools' inputs. Reference: ``tools[].custom.format``.

A client's Lark grammar is nested in the grammar of the answer, so its names cannot clash with others. Its dialect is
that of the reference: no import except ``%import common``, no templates, priorities or look-around. llguidance's
additions that refer to tokens, other grammars or sampling are refused. So are intersections of terminals, which may
take minutes before the first token.
"""

import re
from collections.abc import Iterable
from typing import Final

import llguidance
from msgspec import Struct

from antiphon.constraints.grammar_size import MAX_LEAST_SIZE, least_size
from antiphon.constraints.json_schema import validate_grammar
from antiphon.constraints.json_schema.pattern_queries import byte_tokenizer
from antiphon.constraints.lark import ANY, Lark
from antiphon.protocol import validation
from antiphon.protocol.tools import CustomToolDefinition, Grammar, GrammarFormat

MAX_DEFINITION: Final = 1 << 15
"""Characters of a grammar's definition."""
MAX_REPETITIONS: Final = 10_000
"""Product of the counts of nested repetitions; it bounds the automaton of a short text."""

_LITERAL: Final = re.compile(r'"(?:\\.|[^"\\\n])*"i?|/(?!/)((?:\\.|[^/\\\n])+)/[imslux]*|(?://|#)[^\n]*')
_FORBIDDEN: Final = (
    ("a special token", re.compile(r"<")),
    ("a reference to another grammar", re.compile(r"@")),
    ("a statement other than '%import common' and '%ignore'", re.compile(r"%(?!ignore\b|import\s+common\b)")),
    ("an attribute of a rule", re.compile(r"[\w-]\s*\[[^\]\n]*\]\s*:")),
    ("a parameter of a rule", re.compile(r"::")),
    ("an intersection of terminals", re.compile(r"&")),
)
_COUNT: Final = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}|~\s*(\d+)(?:\s*\.\.\s*(\d+))?")
_REGEX_ITEM: Final = re.compile(
    r"\\[pPxuU]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\{\d*,?\d*\}|[()]|.", re.DOTALL
)


class CallableCustom(Struct, frozen=True, kw_only=True):
    """A custom tool that the answer may call."""

    name: str
    grammar: Grammar | None
    """None admits any text."""


def callable_custom(tool: CustomToolDefinition, path: str) -> CallableCustom:
    """Check the format of the tool at ``path``. Raises InvalidRequestError for a grammar that cannot be enforced."""
    grammar = tool.format.grammar if isinstance(tool.format, GrammarFormat) else None
    if grammar is not None:
        check_grammar(grammar, f"{path}.custom.format.grammar.definition")
    return CallableCustom(name=tool.name, grammar=grammar)


def custom_input(lark: Lark, name: str, tool: CallableCustom) -> str:
    """Write a tool's input, which extends to the end of the answer, as a rule with the name ``name``."""
    return lark.terminal("input", ANY) if tool.grammar is None else write_grammar(lark, name, tool.grammar)


def write_grammar(lark: Lark, name: str, grammar: Grammar) -> str:
    """Write the texts of a client's grammar, which extend to the end of the answer, as a rule with this name."""
    if grammar.syntax == "regex":
        return lark.terminal(name, _regex_terminal(grammar.definition))
    return lark.grammar(name, grammar.definition)


def _regex_terminal(definition: str) -> str:
    """Write a regular expression that matches the whole input; anchors at its ends change nothing."""
    return f"/(?:{llguidance.regex_to_lark(definition, '')})/"


def check_length(definition: str, param: str) -> None:
    """Raise InvalidRequestError for an empty definition and for one of more than :data:`MAX_DEFINITION` characters."""
    if len(definition) > MAX_DEFINITION:
        raise validation.too_long(param, "string", MAX_DEFINITION, len(definition))
    if not definition:
        raise validation.empty(param, "string")


def check_grammar(grammar: Grammar, param: str) -> None:
    """Raise InvalidRequestError for a grammar that is outside the dialect, too costly, or admits no text."""
    check_length(grammar.definition, param)
    check_work(grammar, param)


def check_work(grammar: Grammar, param: str) -> None:
    """Check a grammar as :func:`check_grammar` does, of any length: a translation is longer than its source."""
    definition = grammar.definition
    if grammar.syntax == "regex":
        repetitions, text = _nested_counts(definition), f"start: {_regex_terminal(definition)}"
    else:
        repetitions, text = _check_lark(definition, param), definition
    if repetitions > MAX_REPETITIONS:
        reason = f"the product of its nested repetitions exceeds {MAX_REPETITIONS}."
        raise validation.invalid_value(param, reason)
    if grammar.syntax == "lark" and least_size(definition) > MAX_LEAST_SIZE:
        reason = f"one of its alternatives requires more than {MAX_LEAST_SIZE} literals."
        raise validation.invalid_value(param, reason)
    if grammar.syntax == "regex":
        _check_whole(definition, param)
    _compile(text, param)


def _check_whole(definition: str, param: str) -> None:
    """Refuse what is a regular expression only within the group that :func:`_regex_terminal` writes around it."""
    if (len(definition) - len(definition.rstrip("\\"))) % 2:  # llguidance would drop it
        raise validation.invalid_value(param, "it ends within an escape.")
    validate_grammar(f"start: /{llguidance.regex_to_lark(definition, '')}/", param=param)


def _check_lark(definition: str, param: str) -> int:
    """Refuse constructs outside the dialect; return an upper bound of the product of nested counts."""
    bare = _LITERAL.sub('""', definition)
    for construct, pattern in _FORBIDDEN:
        if pattern.search(bare):
            raise validation.invalid_value(param, f"{construct} is not supported in a grammar.")
    counts = 1
    for match in _COUNT.finditer(bare):
        counts *= _largest(match.groups())
        if counts > MAX_REPETITIONS:
            break
    regexes = [match[1] for match in _LITERAL.finditer(definition) if match[1]]
    return counts * max(map(_nested_counts, regexes), default=1)


def _nested_counts(regex: str) -> int:
    """Return the largest product of the counts of nested repetitions."""
    levels = [1]
    last = 1
    for match in _REGEX_ITEM.finditer(regex):
        item = match[0]
        if item == "(":
            levels.append(1)
        elif item == ")" and len(levels) > 1:
            last = levels.pop()
        elif item.startswith("{") and item != "{":
            last *= _largest(re.findall(r"\d+", item))
        elif item not in "*+?":
            last = 1
        levels[-1] = max(levels[-1], last)
        if last > MAX_REPETITIONS:
            break
    return max(levels)


def _largest(numbers: Iterable[str | None]) -> int:
    return max([1, *(int(number[:9]) for number in numbers if number)])


def _compile(text: str, param: str) -> None:
    """Refuse a grammar that llguidance cannot compile, that matches no text, or whose forced text is too long."""
    validate_grammar(text, param=param)
    matcher = llguidance.LLMatcher(byte_tokenizer(), text, log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise validation.invalid_value(param, "no text matches it.")
    forced = matcher.compute_ff_tokens()
    if forced and not matcher.consume_tokens(forced):
        raise validation.invalid_value(param, "it is too complex to be enforced.")
