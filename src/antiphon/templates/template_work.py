"""What one rendering may cost: a budget of steps on which every loop, call and copy of a template draws.

A template cannot be interrupted from outside, and one call of it (``'a'|center(10 ** 9)``) can take any time. So
everything pays before it is done, in proportion to what it will look through or make. Lists that hold one another
(``x = [x, x]``) are weighed as what they look like when they are written, although they share their memory.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

MAX_STEPS: Final = 1_000_000
"""Of one rendering: a second or so at most. A conversation that fills a large context takes less than a tenth."""
CALL_STEPS: Final = 8
"""Of calling a macro, a block or a loop, besides what they do."""
TEXT_STEP: Final = 64
"""Characters that are copied or looked through in one step."""
ITEM_STEP: Final = 8
"""Elements of a list that are."""
MAX_INTEGER_BITS: Final = 4096
MAX_FORMAT_DIGITS: Final = 3
"""Of a width or a precision in a format."""

_VIEWS: Final = frozenset((type({}.keys()), type({}.values()), type({}.items())))
_WIDE_FORMAT: Final = re.compile(rf"\d{{{MAX_FORMAT_DIGITS + 1},}}|\*|\{{[^{{}}]*:[^{{}}]*\{{")


class TooMuchWorkError(Exception):
    """The template has no steps left, or asks for a value that is too large to make."""


class Work:
    """The budget of one rendering, in one thread."""

    __slots__ = ("_left", "_weights")

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._left = steps
        self._weights: dict[int, tuple[int, object]] = {}
        """By identity; the value is kept, so that no other takes its place. Templates cannot change lists or dicts."""

    def spend(self, steps: int) -> None:
        """Take steps. Raises :class:`TooMuchWorkError` when there are none left."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchWorkError("it does too much work")

    def tick(self, steps: int) -> bool:
        """Take steps; True, so that it can stand before a condition."""
        self.spend(steps)
        return True

    def pay(self, value: Any) -> Any:  # noqa: ANN401 (template values)
        """Take the steps of looking through a value, and return it."""
        self.spend(1 + len(value) // TEXT_STEP if type(value) is str else self.weight(value))
        return value

    def pay_for_elements(self, value: Any) -> Any:  # noqa: ANN401 (template values)
        """Take the steps of going through a value's elements, and return it."""
        if isinstance(value, int):
            _check_bits(value.bit_length())
        self.spend(1 + len(value) // TEXT_STEP if type(value) is str else breadth(value))
        return value

    def weight(self, value: Any) -> int:  # noqa: ANN401 (template values)
        """How many steps it takes to look through the whole of a value."""
        if isinstance(value, str | bytes):
            return 1 + len(value) // TEXT_STEP
        if isinstance(value, dict | list | tuple):
            known = self._weights.get(id(value))
            return self._weigh(value) if known is None else known[0]
        if type(value) in _VIEWS:
            self.spend(1)
            return 1 + sum(map(self.weight, value))
        return breadth(value) if isinstance(value, range) else 1

    def _weigh(self, value: Any) -> int:  # noqa: ANN401 (a container)
        self.spend(1)
        total = 1 + sum(map(self.weight, value))
        if isinstance(value, dict):
            total += sum(map(self.weight, value.values()))
        self._weights[id(value)] = (total, value)
        return total

    def counted(self, items: Iterator[Any]) -> Iterator[Any]:
        """Give the items of an iterator, a step for each."""
        for item in items:
            self.spend(1)
            yield item


def breadth(value: Any) -> int:  # noqa: ANN401 (template values)
    """How many steps it takes to go through the elements of a value, whatever they hold."""
    if isinstance(value, str | bytes):
        return 1 + len(value) // TEXT_STEP
    return 1 + len(value) // ITEM_STEP if hasattr(value, "__len__") else 1


def product_cost(left: Any, right: Any) -> int:  # noqa: ANN401 (template values)
    """Steps of ``left * right``. Raises :class:`TooMuchWorkError` for huge numbers."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
        return 1
    if isinstance(left, int):
        left, right = right, left
    return 1 + breadth(left) * max(0, right) if isinstance(right, int) and hasattr(left, "__len__") else 1


def power_cost(left: Any, right: Any) -> int:  # noqa: ANN401 (template values)
    """Steps of ``left ** right``. Raises :class:`TooMuchWorkError` for huge numbers."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))
    return 1


def format_cost(form: str, weight: int) -> int:
    """Steps of filling in a format, when the values have this weight together.

    Raises :class:`TooMuchWorkError` for widths that are large or computed.
    """
    if _WIDE_FORMAT.search(form):
        raise TooMuchWorkError("a width in a format is too large")
    places = form.count("%") + form.count("{")
    return breadth(form) + places * (weight + 10**MAX_FORMAT_DIGITS // TEXT_STEP)


def _check_bits(bits: int) -> None:
    if bits > MAX_INTEGER_BITS:
        raise TooMuchWorkError("a number is too large")


def method_cost(work: Work, method: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Steps of calling something with arguments, before it is called."""
    owner = getattr(method, "__self__", None)
    values = (*args, *kwargs.values())
    if isinstance(owner, str | bytes | int):
        return _text_cost(work, method.__name__, owner, values)
    if isinstance(owner, dict | list | tuple):
        return (work.weight(owner) if method.__name__ in {"count", "index", "copy"} else 1) + _weights(work, values)
    return CALL_STEPS + _weights(work, values) if isinstance(method, type) else CALL_STEPS


def _weights(work: Work, values: tuple[Any, ...]) -> int:
    return sum(map(work.weight, values))


def _text_cost(work: Work, name: str, owner: str | bytes | int, values: tuple[Any, ...]) -> int:
    """A method may look for its arguments at every place of the text, or make as much as a number says."""
    numbers = sum(abs(value) for value in values if isinstance(value, int))
    cost = work.weight(owner) + _weights(work, values) + numbers // TEXT_STEP
    if name in {"translate", "maketrans"}:
        raise TooMuchWorkError(f"it calls '{name}'")
    if isinstance(owner, int) or name in _LINEAR:
        return cost
    if name == "replace" and isinstance(owner, str) and len(values) > 1:
        return cost + replace_cost(owner, *values[:2])
    if name == "join" and values:
        return cost + join_cost(owner, values[0])
    return cost + len(owner) * (numbers + sum(len(value) for value in values if isinstance(value, str | bytes)))


_LINEAR: Final = frozenset(
    {
        *("capitalize", "casefold", "center", "count", "endswith", "find", "format", "format_map", "index", "isalnum"),
        *("isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable"),
        *("isspace", "istitle", "isupper", "ljust", "lower", "partition", "removeprefix", "removesuffix", "rjust"),
        *("split", "splitlines", "startswith", "swapcase", "title", "upper", "zfill"),
    }
)
"""Methods that go through the text once; the others, ``strip`` and ``rfind`` among them, are charged the product."""


def replace_cost(text: str, old: Any, new: Any) -> int:  # noqa: ANN401 (template values)
    """Steps of writing ``new`` for every ``old``."""
    if not (isinstance(old, str) and isinstance(new, str)):
        return 1
    return 1 + text.count(old) * (1 + len(new)) // TEXT_STEP


def join_cost(separator: Any, items: Any) -> int:  # noqa: ANN401 (template values)
    """Steps of writing the separator between the items."""
    return breadth(separator) * len(items) if hasattr(items, "__len__") else 1
