"""Two sizes that a short grammar can make large: the shortest text of an alternative, and the automata of multiples.

The size of a text is its number of literals and terminals. A few lines can require a huge text: each of ``a: b b``,
``b: c c`` and so on doubles it. If such a rule is one of several alternatives, compiling the grammar does not reveal
it, and the engine would fail in the middle of an answer. So the least size of every alternative is computed before.
"""

import re
from typing import Final

MAX_LEAST_SIZE: Final = 4096
"""Literals and terminals in the shortest text of a rule. llguidance follows about 16,000 characters of forced text."""
MAX_MULTIPLES: Final = 50_000
"""Sum of all ``multipleOf`` of a grammar without decimal points: the states of the automata, whose construction takes a
second before the first token."""
_MULTIPLE: Final = re.compile(r'(?<!\\)"multipleOf":([0-9.]+)')
_MAX_PASSES: Final = 32
_HEAD: Final = re.compile(r"^[?!]*([A-Za-z_]\w*)\s*(?:\.\s*-?\d+\s*)?:", re.MULTILINE)
_TOKEN: Final = re.compile(
    r"""(?P<comment>(?://|\#)[^\n]*|%[^\n]*|->\s*\w+)
    |(?P<item>"(?:\\.|[^"\\\n])*"i?(?:\s*\.\.\s*"(?:\\.|[^"\\\n])*")?|/(?:\\.|[^/\\\n])+/[imslux]*)
    |(?P<name>[A-Za-z_][\w.]*)
    |\{\s*(?P<least>\d*)[^}]*\}|~\s*(?P<count>\d+)(?:\s*\.\.\s*\d+)?
    |(?P<sign>[|()\[\]?*+])""",
    re.VERBOSE,
)


_Sizes = dict[str, int | None]
"""Least size by rule; None while no finite text is known."""


def sum_of_multiples(grammar: str) -> int:
    """Return the sum of every ``multipleOf`` of the JSON Schemas in a grammar; 0.25 counts as 25."""
    return sum(int(digits.replace(".", "")) for digits in _MULTIPLE.findall(grammar))


def least_size(grammar: str) -> int:
    """Return the largest least size of all alternatives; above :data:`MAX_LEAST_SIZE` it may be too small.

    An alternative without a finite text does not count: compiling the grammar shows whether it matters.
    """
    bodies = _bodies(grammar)
    sizes: _Sizes = dict.fromkeys(bodies)
    for number in range(_MAX_PASSES):
        before = dict(sizes)
        for name in reversed(bodies) if number % 2 == 0 else bodies:
            sizes[name] = _least(bodies[name], sizes, [])
        if sizes == before:
            return _largest(bodies, sizes)
    return MAX_LEAST_SIZE + 1


def _bodies(grammar: str) -> dict[str, list[re.Match[str]]]:
    heads = [*_HEAD.finditer(grammar)]
    ends = [*(head.start() for head in heads[1:]), len(grammar)]
    return {
        head[1]: [token for token in _TOKEN.finditer(grammar, head.end(), end) if token["comment"] is None]
        for head, end in zip(heads, ends, strict=False)
    }


def _largest(bodies: dict[str, list[re.Match[str]]], sizes: _Sizes) -> int:
    seen = [0]
    for body in bodies.values():
        _least(body, sizes, seen)
    return max(seen)


def _least(body: list[re.Match[str]], sizes: _Sizes, seen: list[int]) -> int | None:
    """Return the least size of a rule, and append the sizes of all its alternatives to ``seen``.

    Invariant: ``groups`` holds the open brackets; each is a list of alternatives, and the last one is still read.
    """
    groups: list[list[list[int | None]]] = [[[]]]
    for token in body:
        sign = token["sign"]
        if sign == "|":
            groups[-1].append([])
        elif sign in {"(", "["}:
            groups.append([[]])
        elif sign in {")", "]"}:
            size = _smallest(groups.pop(), seen) if len(groups) > 1 else 0
            groups[-1][-1].append(0 if sign == "]" else size)
        elif token["item"] or token["name"]:
            groups[-1][-1].append(_size(token, sizes))
        elif groups[-1][-1] and sign != "+":
            groups[-1][-1].append(_repeated(token, groups[-1][-1].pop()))
    return _smallest(groups[0], seen)


def _smallest(alternatives: list[list[int | None]], seen: list[int]) -> int | None:
    sizes = [sum(size for size in items if size is not None) for items in alternatives if None not in items]
    seen += sizes
    return min(*sizes, MAX_LEAST_SIZE + 1) if sizes else None


def _size(token: re.Match[str], sizes: _Sizes) -> int | None:
    """Return the size of one item; a name without a rule is an imported terminal."""
    if token["name"]:
        return sizes.get(token["name"], 1)
    return 0 if token["item"] == '""' else 1


def _repeated(token: re.Match[str], size: int | None) -> int | None:
    if token["sign"]:
        return 0
    count = min(int((token["least"] or token["count"] or "0")[:9]), MAX_LEAST_SIZE + 1)
    return 0 if count == 0 else None if size is None else min(count * size, MAX_LEAST_SIZE + 1)
