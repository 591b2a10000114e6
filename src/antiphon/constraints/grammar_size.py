"""Bounds what makes a small grammar large: the least text of every alternative, and the automata of multiples.

The least text is counted in literals and terminals. A few lines can ask for a text without end: ``a: b b``, ``b: c c``
and so on double it with each of them. Where such a rule stands behind a choice, compiling the grammar does not show it,
and the engine would meet it in the middle of an answer. So the least size of every rule and of every alternative is
found here, before.
"""

import re
from typing import Final

MAX_LEAST_SIZE: Final = 4096
"""Literals and terminals of the shortest text of a rule: llguidance follows forced text of about 16,000 characters."""
MAX_MULTIPLES: Final = 50_000
"""Sum of all ``multipleOf`` of a grammar, their decimal points left out: states of automata that are gone through, a
second's work, before the first token."""
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
"""By rule; None while no finite text is known."""


def sum_of_multiples(grammar: str) -> int:
    """Add up every ``multipleOf`` of the JSON Schemas in a grammar, 25 for 0.25."""
    return sum(int(digits.replace(".", "")) for digits in _MULTIPLE.findall(grammar))


def least_size(grammar: str) -> int:
    """Return the largest of the least sizes of all alternatives; above :data:`MAX_LEAST_SIZE` it may be too small.

    One without a finite text counts for nothing: compiling tells whether it matters.
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
    """Return the least size of a rule; ``seen`` takes those of all alternatives in it.

    Invariant: ``groups`` holds the open brackets, each with its alternatives and the items of the last of them.
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
    """Return the size of one item; a name that no rule has is a terminal of a library."""
    if token["name"]:
        return sizes.get(token["name"], 1)
    return 0 if token["item"] == '""' else 1


def _repeated(token: re.Match[str], size: int | None) -> int | None:
    if token["sign"]:
        return 0
    count = min(int((token["least"] or token["count"] or "0")[:9]), MAX_LEAST_SIZE + 1)
    return 0 if count == 0 else None if size is None else min(count * size, MAX_LEAST_SIZE + 1)
