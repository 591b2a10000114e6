"""Which templates only write the texts of messages, and never look into them.

Such a template gives the same text whatever stands for a message's text while it is rendered: what is hidden and put
back afterwards comes out as if it had not been hidden. It is told from the template's tree, by what is known to be
harmless; whatever else stands in it counts as looking. Most templates look: into reasoning, for tools, for types.

A text may be written, added to other texts and trimmed, since the whitespace around it is not hidden; it may be asked
whether it is there. Loops go through the messages and lie in no other, so that what is written is at most
``MAX_PLACES`` times as long as the texts.
"""

from collections.abc import Sequence
from typing import Final

from jinja2 import nodes

MESSAGES: Final = "messages"
_ROLE: Final = "role"
"""The member that is not a user's text."""
_TEXTS: Final = frozenset({"content", "name", "reasoning", "reasoning_content", "tool_call_id"})
"""The members that are one text, where contents are: others, such as calls of tools, are written as what they are."""
_LOOP: Final = frozenset({"first", "last", "index", "index0", "revindex", "revindex0", "length"})
"""What a loop tells of itself without showing its items."""
_PRESENCE: Final = frozenset({"defined", "undefined", "none"})
_HARMLESS_TESTS: Final = _PRESENCE | {"boolean", "false", "string", "true"}
_HARMLESS_FILTERS: Final = frozenset({"default", "length", "trim", "upper", "lower"})
_HARMLESS_CALLS: Final = frozenset({"raise_exception", "strftime_now"})
MAX_PLACES: Final = 8
"""Places at which a text is written, each at most once."""


def reads_texts(template: nodes.Template) -> bool:
    """Whether the template may give something else when the texts of messages are hidden from it.

    That is said for messages whose content is one text, and not a list of parts.
    """
    reader = _Reader()
    return not reader.harmless(template.body) or reader.places > MAX_PLACES


class _Reader:
    """Goes through one template with the names that stand for a message at each place."""

    def __init__(self) -> None:
        self._message: str | None = None
        """The name of the message at hand, inside of a loop."""
        self.places = 0
        """At which texts are written."""

    def harmless(self, statements: Sequence[nodes.Node]) -> bool:
        """Whether no statement looks into a text."""
        return all(map(self._statement, statements))

    def _statement(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Output():
                return all(map(self._written, node.nodes))
            case nodes.If():
                return self._plain(node.test) and self.harmless([*node.body, *node.elif_, *node.else_])
            case nodes.For():
                return self._loop(node)
            case nodes.Assign(target=nodes.Name(name=name)):
                return name not in {MESSAGES, "loop", self._message} and self._plain(node.node)
            case nodes.ExprStmt():
                return self._plain(node.node)
            case _:
                return False

    def _loop(self, node: nodes.For) -> bool:
        special = self._message is not None or node.test is not None or node.recursive
        if special or not isinstance(node.target, nodes.Name) or not self._list(node.iter):
            return False
        self._message = node.target.name
        inside = self._message not in {MESSAGES, "loop"} and self.harmless(node.body)
        self._message = None
        return inside and self.harmless(node.else_)

    def _list(self, node: nodes.Node) -> bool:
        """Whether it is the messages, or a slice of them."""
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            bounds = [bound for bound in (node.arg.start, node.arg.stop, node.arg.step) if bound is not None]
            return self._list(node.node) and all(map(self._plain, bounds))
        return isinstance(node, nodes.Name) and node.name == MESSAGES

    def _is_message(self, node: nodes.Node) -> bool:
        if isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Slice):
            return self._list(node.node) and self._plain(node.arg)
        return isinstance(node, nodes.Name) and node.name == self._message

    def _text(self, node: nodes.Node) -> bool:
        """Whether it is a member of a message, other than its role: inside of a loop of the message at hand."""
        name = _member(node)
        if name is None or name == _ROLE:
            return False
        owner = _owner(node)
        return self._is_message(owner) and (self._message is None or isinstance(owner, nodes.Name))

    def _written(self, node: nodes.Node | None) -> bool:
        """Whether the node may be written: what is plain, and texts as they are."""
        match node:
            case nodes.Add():
                parts: list[nodes.Expr | None] = [node.left, node.right]
            case nodes.Concat():
                parts = [*node.nodes]
            case nodes.CondExpr() if self._plain(node.test):
                parts = [node.expr1, node.expr2]
            case nodes.Filter(name="trim", args=[], kwargs=[], dyn_args=None, dyn_kwargs=None):
                parts = [node.node]
            case _ if node is not None and self._text(node):
                self.places += 1
                return _member(node) in _TEXTS
            case _:
                return isinstance(node, nodes.TemplateData) or self._plain(node)
        return all(map(self._written, parts))

    def _plain(self, node: nodes.Node | None) -> bool:
        """Whether the node's value has nothing to do with any text."""
        match node:
            case None | nodes.Const():
                return True
            case nodes.Name():
                return node.name not in {MESSAGES, "loop", self._message}
            case nodes.Getattr() | nodes.Getitem():
                owner, name = _owner(node), _member(node)
                in_loop = isinstance(owner, nodes.Name) and owner.name == "loop"
                return name in _LOOP if in_loop else name == _ROLE and self._is_message(owner)
            case nodes.Test():
                asked = node.name in _PRESENCE and self._text(node.node)
                return asked or (node.name in _HARMLESS_TESTS and not node.args and self._plain(node.node))
            case nodes.Filter(node=nodes.Expr() as items, name="length", args=[]) if self._list(items):
                return True
            case _:
                parts = _parts(node)
                return parts is not None and all(map(self._plain, parts))


def _parts(node: nodes.Node) -> list[nodes.Expr | None] | None:
    """Return what the value of an operation is made of, None for an operation that is not known to be harmless."""
    match node:
        case nodes.Compare():
            return [node.expr, *(operand.expr for operand in node.ops)]
        case nodes.And() | nodes.Or() | nodes.Add() | nodes.Sub() | nodes.Mod():
            return [node.left, node.right]
        case nodes.Not() | nodes.Neg():
            return [node.node]
        case nodes.Filter(kwargs=[], dyn_args=None, dyn_kwargs=None) if node.name in _HARMLESS_FILTERS:
            return [node.node, *node.args]
        case nodes.Call(node=nodes.Name(name=name), kwargs=[], dyn_args=None, dyn_kwargs=None):
            return list(node.args) if name in _HARMLESS_CALLS else None
        case _:
            return None


def _member(node: nodes.Node) -> str | None:
    """Return the name of the member that a node asks for, if that stands there."""
    match node:
        case nodes.Getattr():
            return node.attr
        case nodes.Getitem(arg=nodes.Const(value=str() as name)):
            return name
        case _:
            return None


def _owner(node: nodes.Node) -> nodes.Node:
    assert isinstance(node, nodes.Getattr | nodes.Getitem)
    return node.node
