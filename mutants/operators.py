"""How a piece of code is made faulty: the operators of mutmut, and those that it lacks.

Left out of mutmut's: arguments and values replaced by None, which hardly any test can miss, so that they would only
flatter the count; strings in other cases. Added: what programmers forget, that is a statement or half of a condition.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import libcst as cst
import libcst.matchers as m
from mutmut.mutation import mutators

Operator = Callable[[Any], Iterable[cst.CSTNode]]

SWAPPED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
"""Functions of the same arguments."""


def string(node: cst.BaseString) -> Iterator[cst.CSTNode]:
    """Give the text with something before and behind it."""
    yield from islice(mutators.operator_string(node), 1)


def swapped_function(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Call the opposite function."""
    if isinstance(node.func, cst.Name) and node.func.value in SWAPPED:
        yield node.with_changes(func=cst.Name(SWAPPED[node.func.value]))


def one_operand(node: cst.BooleanOperation) -> Iterator[cst.CSTNode]:
    """Forget one half of a condition."""
    yield from (node.left, node.right)


def negated(node: cst.If | cst.While | cst.IfExp) -> Iterator[cst.CSTNode]:
    """Turn a condition round that no other operator reaches: a name, an attribute or a call."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.Await | cst.Yield | cst.NamedExpr):
        inner = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_deep_changes(node, test=cst.UnaryOperation(cst.Not(), inner))


def once(node: cst.While) -> Iterator[cst.CSTNode]:
    """Do once, at most, what is to be repeated."""
    if not m.findall(node, m.Break() | m.Continue()):
        yield cst.If(
            test=node.test,
            body=node.body,
            orelse=node.orelse,
            leading_lines=node.leading_lines,
            whitespace_before_test=node.whitespace_after_while,
            whitespace_after_test=node.whitespace_before_colon,
        )


def forgotten(node: cst.Expr | cst.Assign | cst.AugAssign | cst.Return) -> Iterator[cst.CSTNode]:
    """Leave a statement out that is there for its effect, or a return from the midst of a function."""
    if isinstance(node, cst.Expr):
        has_effect = not isinstance(node.value, cst.BaseString | cst.Ellipsis)
    elif isinstance(node, cst.Assign):
        has_effect = not m.findall(node.targets[0], m.Name()) or not isinstance(node.targets[0].target, cst.Name)
    else:
        has_effect = not isinstance(node, cst.Return) or node.value is None
    if has_effect:
        yield cst.Pass()


OPERATORS: Final[tuple[tuple[type[cst.CSTNode], Operator], ...]] = (
    (cst.BaseNumber, mutators.operator_number),
    (cst.BaseString, string),
    (cst.Name, mutators.operator_name),
    (cst.AugAssign, mutators.operator_augmented_assignment),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.Call, mutators.operator_symmetric_string_methods_swap),
    (cst.Call, mutators.operator_unsymmetrical_string_methods_swap),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.Match, mutators.operator_match),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.Call, swapped_function),
    (cst.BooleanOperation, one_operand),
    (cst.If, negated),
    (cst.While, negated),
    (cst.While, once),
    (cst.Expr, forgotten),
    (cst.Assign, forgotten),
    (cst.AugAssign, forgotten),
    (cst.Return, forgotten),
)
