"""Jinja's sandbox with a budget: whatever a template does is paid for before it is done.

Loops, macros and blocks take steps by a statement that is put into each of their bodies; filters, tests, calls and
operators by being intercepted. See :mod:`antiphon.templates.template_work` for what a step is.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, TypeVar

from jinja2 import nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from antiphon.templates.template_work import (
    TEXT_STEP,
    Work,
    breadth,
    format_cost,
    join_cost,
    method_cost,
    power_cost,
    product_cost,
    replace_cost,
)

Cost = Callable[[Work, tuple[Any, ...], dict[str, Any]], int]
_Body = TypeVar("_Body", nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)
_TICK, _LOOK, _PASS = "take steps", "look through", "go through"
"""Names of filters that no template can write."""
MAX_TERMS: Final = 8
"""Of a sum that is paid for as one."""


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one chat template. Rendering needs :meth:`working` around it."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (Jinja's own)
        self._local = local = _Local()

        def written(value: Any) -> Any:  # noqa: ANN401 (template values)
            return local.work.pay(value)

        super().__init__(finalize=written, **options)
        del self.globals["lipsum"]
        self.globals["namespace"] = _Namespace
        for name in list(self.filters):
            self.filters[name] = self._charged(self.filters[name], _FILTER_COSTS.get(name, _deep))
        for name in _COSTLY_TESTS:
            self.tests[name] = self._charged(self.tests[name], _deep)
        self.filters |= {
            _TICK: pass_context(lambda _, steps: local.work.tick(steps)),
            _LOOK: pass_context(lambda _, value: local.work.pay(value)),
            _PASS: pass_context(lambda _, value: local.work.pay_for_elements(value)),
        }

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """Define a filter of our own, which pays for all that it is given."""
        self.filters[name] = self._charged(function, _indented if name == "tojson" else _deep)

    @contextmanager
    def working(self, work: Work) -> Iterator[None]:
        """Make ``work`` the budget of what this thread renders in the block."""
        before, self._local.work = self._local.work, work
        try:
            yield
        finally:
            self._local.work = before

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (template values)
        """Call what a template calls."""
        work = self._local.work
        if args and getattr(function, "__name__", "") == "join" and not hasattr(args[0], "__len__"):
            args = ([*work.counted(iter(args[0]))], *args[1:])
        work.spend(method_cost(work, function, args, kwargs))
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 (template values)
        """Calculate, within bounds."""
        work = self._local.work
        if operator == "%":
            work.spend(format_cost(left, work.weight(right)) if isinstance(left, str) else 1)
        else:
            work.spend(_OPERATOR_COSTS[operator](left, right))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:  # noqa: ANN401 (template values)
        """Return what stands for a text's ``format``, which Jinja makes safe and we pay for."""
        safe = super().wrap_str_format(value)
        if safe is None:
            return None

        @wraps(safe)
        def paid(*args: Any, **kwargs: Any) -> str:  # noqa: ANN401 (template values)
            work = self._local.work
            work.spend(format_cost(value.__self__, sum(map(work.weight, (*args, *kwargs.values())))))
            return safe(*args, **kwargs)

        return paid

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401 (Jinja's own)
        """Write Python for a template with our statements in it."""
        _Metering(self).visit(source)
        return super()._generate(source, *args, **kwargs)

    def _charged(self, function: Any, cost: Cost) -> Callable[..., Any]:  # noqa: ANN401 (Jinja's own)
        """Return the filter or test with a price; what it gives piece by piece is counted."""
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def charged(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (template values)
            work = self._local.work
            given = args[first:]
            if cost in _NEED_LENGTH and given and hasattr(given[0], "__next__"):
                given = ([*work.counted(given[0])], *given[1:])
            work.spend(cost(work, given, kwargs))
            result = function(*args[:first], *given, **kwargs)
            return work.counted(result) if hasattr(result, "__next__") else result

        return charged


class _Local(threading.local):
    """The budget of each thread; outside of :meth:`Sandbox.working`, while a template is compiled, one for all."""

    def __init__(self) -> None:
        self.work = Work()


class _Namespace(Namespace):
    """A namespace whose text does not go into what it holds, which may be anything, and itself."""

    def __repr__(self) -> str:
        return "<Namespace>"


class _Metering(NodeTransformer):
    """Puts statements that take steps into a template's tree."""

    def __init__(self, environment: Sandbox) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 (Jinja's own)
        """A step for each item, and for each that the loop's condition looks at."""
        self.generic_visit(node)
        if node.test is not None:
            looked = self._filter(nodes.Const(1), _TICK, node.lineno)
            node.test = nodes.And(looked, node.test, lineno=node.lineno, environment=self._environment)
        return self._metered(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        """A step for each call."""
        self.generic_visit(node)
        return self._metered(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:  # noqa: N802
        """A step for each use of the block."""
        self.generic_visit(node)
        return self._metered(node)

    def visit_Block(self, node: nodes.Block) -> nodes.Block:  # noqa: N802
        """A step for each use of the block."""
        self.generic_visit(node)
        return self._metered(node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        """Comparing looks through one side, searching through both."""
        self.generic_visit(node)
        searches = any(operand.op in {"in", "notin"} for operand in node.ops)
        constant = any(map(_is_constant, (node.expr, *(operand.expr for operand in node.ops))))
        if searches or not constant:
            node.expr = self._looked(node.expr)
        for operand in node.ops:
            if operand.op in {"in", "notin"}:
                operand.expr = self._looked(operand.expr)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802
        """What is written is paid for then, a sum, too."""
        node.nodes = [self._sum(each)[0] if isinstance(each, nodes.Add) else self.visit(each) for each in node.nodes]
        return node

    def visit_Add(self, node: nodes.Add) -> nodes.Expr:  # noqa: N802
        """What is added is copied, and paid for as a whole."""
        return self._sum(node)[0] if _is_number(node) else self._filter(self._sum(node)[0], _PASS, node.lineno)

    def visit_Sub(self, node: nodes.Sub) -> nodes.Expr:  # noqa: N802
        """Differences may grow as sums do."""
        self.generic_visit(node)
        return node if _is_number(node) else self._filter(node, _PASS, node.lineno)

    def _sum(self, node: nodes.Expr) -> tuple[nodes.Expr, int]:
        """Return a sum without the price of its result, and how many of its terms are no constants.

        So few of them stand in one sum that none comes to much more than what was paid for before.
        """
        if not isinstance(node, nodes.Add):
            return self.visit(node), 0 if _is_constant(node) else 1
        node.left, left = self._sum(node.left)
        node.right, right = self._sum(node.right)
        if left + right <= MAX_TERMS:
            return node, left + right
        return self._filter(node, _PASS, node.lineno), 1

    def visit_Concat(self, node: nodes.Concat) -> nodes.Concat:  # noqa: N802
        """Everything is written into one text."""
        self.generic_visit(node)
        node.nodes = [self._looked(each) for each in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        """A slice is a copy; a key is looked through."""
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = self._filter(node.node, _PASS, node.lineno)
        else:
            node.arg = self._looked(node.arg)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Pair:  # noqa: N802
        """A key is looked through."""
        self.generic_visit(node)
        node.key = self._looked(node.key)
        return node

    def _looked(self, node: nodes.Expr) -> nodes.Expr:
        return node if _is_constant(node) else self._filter(node, _LOOK, node.lineno)

    def _metered(self, node: _Body) -> _Body:
        texts = [*(each.data for each in node.find_all(nodes.TemplateData))]
        texts += [each.value for each in node.find_all(nodes.Const) if isinstance(each.value, str)]
        steps = 1 + sum(map(len, texts)) // TEXT_STEP
        taken = self._filter(nodes.Const(steps), _TICK, node.lineno)
        statement = nodes.ExprStmt(taken, lineno=node.lineno, environment=self._environment)
        node.body = [statement, *node.body]
        return node

    def _filter(self, node: nodes.Expr, name: str, lineno: int) -> nodes.Filter:
        made = nodes.Filter(node, name, [], [], None, None)
        made.set_lineno(lineno)
        made.set_environment(self._environment)
        return made


def _is_number(node: nodes.BinExpr) -> bool:
    """Whether a number is added to or taken from something, which then must be one and grows slowly."""
    return any(isinstance(side, nodes.Const) and isinstance(side.value, int) for side in (node.left, node.right))


def _is_constant(node: nodes.Node) -> bool:
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(map(_is_constant, node.items))
    return isinstance(node, nodes.Const) or (isinstance(node, nodes.Neg) and _is_constant(node.node))


def _deep(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    numbers = sum(abs(value) for value in (*args[1:], *kwargs.values()) if isinstance(value, int))
    return sum(map(work.weight, (*args, *kwargs.values()))) + numbers // TEXT_STEP


def _free(_work: Work, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> int:
    return 1


def _shallow(_work: Work, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> int:
    return breadth(args[0]) if args else 1


def _sorting(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Every element is compared with as many as the length has binary digits."""
    return 24 * _deep(work, args, kwargs)


def _square(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """What no template is known to need and may be slow on hostile texts."""
    return _counting(work, args, kwargs) * _deep(work, args, kwargs)


def _counting(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """A number among the arguments is how often something is done."""
    numbers = sum(abs(value) for value in (*args[1:], *kwargs.values()) if isinstance(value, int))
    return _deep(work, args, kwargs) + numbers


def _indented(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """An indentation stands before every line, as often as it lies deep."""
    indents = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, int | str) and value is not True]
    widest = max([0, *(value if isinstance(value, int) else len(value) for value in indents)])
    return (1 + widest) * _deep(work, args[:1], {})


def _lined(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """An indentation stands before every line."""
    widths = [value if isinstance(value, int) else len(value) for value in (*args[1:], *kwargs.values())
              if isinstance(value, int | str)]  # fmt: skip
    weight = work.weight(args[0])
    work.spend(weight)
    return (1 + str(args[0]).count("\n")) * (1 + max([0, *widths])) // TEXT_STEP


def _joining(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    separator = args[1] if len(args) > 1 else kwargs.get("d", "")
    return _deep(work, args, kwargs) + join_cost(separator, args[0])


def _replacing(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    work.spend(_deep(work, args, kwargs))
    old, new = (*args[1:3], kwargs.get("old"), kwargs.get("new"))[:2]
    return replace_cost(str(args[0]), old, new)


def _trimming(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Every character at the ends is looked for among those to be trimmed."""
    characters = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, str)]
    return work.weight(args[0]) * (1 + sum(map(len, characters)))


def _formatting(work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    form, *values = args
    return format_cost(form, sum(map(work.weight, (*values, *kwargs.values())))) if isinstance(form, str) else 1


_FILTER_COSTS: Final[dict[str, Cost]] = {
    **dict.fromkeys(("attr", "count", "d", "default", "length", "safe"), _free),
    **dict.fromkeys(("first", "items", "last", "list", "map", "random", "reject", "rejectattr"), _shallow),
    **dict.fromkeys(("reverse", "select", "selectattr"), _shallow),
    **dict.fromkeys(("dictsort", "groupby", "max", "min", "sort", "unique"), _sorting),
    **dict.fromkeys(("pprint", "round", "striptags", "sum", "title", "urlize", "wordcount", "wordwrap"), _square),
    "xmlattr": _square,
    **dict.fromkeys(("batch", "slice"), _counting),
    "format": _formatting,
    "indent": _lined,
    "join": _joining,
    "replace": _replacing,
    "trim": _trimming,
}
_NEED_LENGTH: Final = frozenset((_joining, _sorting, _square))
"""Prices of what goes through all items at once: they are asked for with a list."""
_COSTLY_TESTS: Final = frozenset(
    {
        *("in", "eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "le", "<=", "gt", ">", "greaterthan"),
        *("ge", ">=", "lower", "upper"),
    }
)
_OPERATOR_COSTS: Final = {"*": product_cost, "**": power_cost}
