"""The mutation operators: most of mutmut's, and some that it lacks.

Two operators of mutmut are left out: None in place of arguments and values, which nearly every test detects, and
strings in upper or lower case. Added operators remove a statement or half of a condition.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import libcst as cst
import libcst.matchers as m
from mutmut.mutation import mutators

Operator = Callable[[Any], Iterable[cst.CSTNode]]

SWAPPED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
"""Functions with the same arguments."""


def string(node: cst.BaseString) -> Iterator[cst.CSTNode]:
    """Add text before and after a string."""
    yield from islice(mutators.operator_string(node), 1)


def swapped_function(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Replace a function by its opposite."""
    if isinstance(node.func, cst.Name) and node.func.value in SWAPPED:
        yield node.with_changes(func=cst.Name(SWAPPED[node.func.value]))


def one_operand(node: cst.BooleanOperation) -> Iterator[cst.CSTNode]:
    """Remove one half of a condition."""
    yield from (node.left, node.right)


def negated(node: cst.If | cst.While | cst.IfExp) -> Iterator[cst.CSTNode]:
    """Negate a condition that no other operator changes: a name, an attribute or a call."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.Await | cst.Yield | cst.NamedExpr):
        inner = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_deep_changes(node, test=cst.UnaryOperation(cst.Not(), inner))


def once(node: cst.While) -> Iterator[cst.CSTNode]:
    """Replace a loop by a condition, so that its body runs at most once."""
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
    """Remove a statement with an effect, or a return without a value."""
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
