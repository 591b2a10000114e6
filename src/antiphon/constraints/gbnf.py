"""Translates GBNF, llama.cpp's notation of grammars, to llguidance's Lark dialect.

llguidance's own converter (``llguidance.gbnf_to_lark``) reads the text. Its output has other texts than GBNF, because
rules of characters become terminals: a terminal takes the longest match, so ``[a-z]+ "x"`` admits nothing. GBNF has no
terminals. So every character here is a lexeme of its own, and llguidance's parser follows all derivations.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from llguidance import gbnf_to_lark as converter

from antiphon.constraints.lark import quoted

_ESCAPE: Final = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_CHARACTER: Final = re.compile(r"\\x[0-9a-fA-F]{2}|\\.|.", re.DOTALL)
_RANGE: Final = re.compile(rf"({_CHARACTER.pattern})(?:-((?!\]){_CHARACTER.pattern}))?", re.DOTALL)
_CONTROL: Final = {"n": "\n", "r": "\r", "t": "\t"}
_ASCII: Final = 0x80


class GBNFError(ValueError):
    """The text is no GBNF, or uses an addition that has no translation. The message is a clause."""


def lark_from_gbnf(text: str) -> str:
    """Return the grammar with the texts of ``text``; the rule ``root`` becomes ``start``. Raises :class:`GBNFError`."""
    try:
        return _written(converter.GrammarParser().parse(_ESCAPE.sub(_widened, text)))
    except converter.GbnfToLarkError as error:
        raise GBNFError(f"it is not GBNF: {error}") from error
    except IndexError as error:
        raise GBNFError("it is not GBNF: it ends inside an escape sequence") from error
    except GBNFError:
        raise
    except ValueError as error:
        raise GBNFError("it is not GBNF: a count of repetitions is no number") from error
    except RecursionError as error:
        raise GBNFError("it nests too deeply") from error


def _widened(match: re.Match[str]) -> str:
    """Return the character of an escape by its code, below 128 as two hexadecimal digits: the converter keeps both."""
    kind, digits = match[0][1], match[0][2:]
    if not digits:
        return match[0]
    code = int(digits, 16)
    if code < _ASCII:
        return f"\\x{code:02x}"
    if (kind == "U" and code > 0x10FFFF) or 0xD800 <= code < 0xE000:  # noqa: PLR2004 (Unicode's range)
        raise GBNFError(f"{match[0]} is not a character")
    return chr(code)


def _written(rules: Mapping[str, Any]) -> str:
    if "root" not in rules:
        raise GBNFError("it has no rule 'root'")
    names = {name: "start" if name == "root" else f"rule_{number}" for number, name in enumerate(rules)}
    return "".join(f"{names[name]}: {_expression(rule.alternatives, names)}\n" for name, rule in rules.items())


def _expression(node: Any, names: Mapping[str, str]) -> str:  # noqa: ANN401 (the converter's nodes)
    match node:
        case converter.LiteralNode():
            return " ".join(quoted(_character(each)) for each in _CHARACTER.findall(node.value)) or '""'
        case converter.RegexNode():
            return "/(?s:.)/" if node.rx == "." else _character_class(node.rx)
        case converter.RuleRefNode():
            if node.name not in names:
                raise GBNFError(f"it has no rule '{node.name[:64]}'")
            return names[node.name]
        case converter.RepetitionNode():
            least, most = node.min_times, node.max_times
            return f"({_expression(node.node, names)}){{{least},{'' if most is None else most}}}"
        case converter.SequenceNode():
            return " ".join(_expression(each, names) for each in node.nodes) or '""'
        case _:
            return f"({' | '.join(_expression(each, names) for each in node.alternatives)})"


def _character_class(text: str) -> str:
    """Write a class with the code points of its characters, so that no sign in it has another meaning."""
    inside = text[1:-1]
    negated = inside.startswith("^")
    items = [
        _code_point(first) + (f"-{_code_point(last)}" if last else "")
        for first, last in _RANGE.findall(inside[negated:])
    ]
    if not items:
        raise GBNFError("it has an empty character class")
    return f"/[{'^' if negated else ''}{''.join(items)}]/"


def _code_point(written: str) -> str:
    return f"\\x{{{ord(_character(written)):x}}}"


def _character(written: str) -> str:
    if written.startswith("\\x") and len(written) > 2:  # noqa: PLR2004 (backslash and x)
        return chr(int(written[2:], 16))  # noqa: FURB166 (``\x`` is no prefix of int)
    return _CONTROL.get(written[1:], written[1:]) if written.startswith("\\") else written
