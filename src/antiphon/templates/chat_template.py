"""A model's chat template, rendered by Jinja's sandbox as Hugging Face's ``apply_chat_template`` renders it.

The environment is that of the reference implementation (transformers, ``render_jinja_template``): ``trim_blocks``,
``lstrip_blocks``, loop controls, ``raise_exception``, ``strftime_now``, ``tojson`` without HTML escaping, and the
``generation`` block, whose body is rendered. Templates come with model files, so they are foreign code. The sandbox
hides the attributes that lead to Python's internals. It limits neither time nor memory: the server opens and renders
templates in processes that have limits (:mod:`antiphon.rendering.render_process`).
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from antiphon.errors import InvalidRequestError
from antiphon.templates.capabilities import Capabilities, probe

MAX_SOURCE: Final = 1 << 17
"""Characters of a template's source; the longest known have 20,000."""
MAX_NODES: Final = 10_000
"""Expressions and statements of a template: compiling takes longer than in proportion."""
MAX_OUTPUT: Final = 1 << 26
"""Characters of a rendered conversation, unless the caller sets a lower bound."""
MAX_MESSAGE: Final = 500
"""Characters of an error's message: templates quote what they refuse."""
_FUNCTIONS: Final = "functions"
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f\ud800-\udfff]")
RESERVED: Final = frozenset(
    {"messages", "tools", "add_generation_prompt", "continue_final_message", "bos_token", "eos_token", "max_output"}
)
"""Variables that only the server sets."""

CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template for model files without one. Most models were trained on ChatML, too."""


class ChatTemplateError(ValueError):
    """The template cannot be used: it is too long, is not Jinja, or renders no user message."""


class ChatTemplate:
    """A compiled template and its features.

    ``clock`` gives Unix seconds; ``strftime_now`` shows them in the machine's time zone.
    """

    def __init__(self, source: str, bos_token: str, eos_token: str, *, clock: Callable[[], float] = time.time) -> None:
        """Compile and probe ``source``. Raises :class:`ChatTemplateError`."""
        if len(source) > MAX_SOURCE:
            raise ChatTemplateError(f"The chat template has {len(source)} characters; at most {MAX_SOURCE} are taken.")
        self.source = source
        environment = _environment(clock)
        try:
            tree = environment.parse(source)
            _check_size(tree)
            self.texts = _texts(tree)
            """The literal texts of the template: the text outside of tags and the strings in expressions."""
            names = meta.find_undeclared_variables(tree)
            self._template = environment.from_string(tree)
        except Exception as error:  # a foreign source may break Jinja, and the Python that Jinja writes may break
            raise ChatTemplateError(f"The chat template is not valid: {str(error)[:MAX_MESSAGE]}") from error
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._clock = clock
        self.variables = frozenset(names) - RESERVED - frozenset(environment.globals)
        """The names that the template reads and ``chat_template_kwargs`` may set."""
        self._no_tools: tuple[()] | None = None
        """The value of ``tools`` for a request without tools."""
        self._takes_functions = False
        """Whether the template reads the tools as the text ``functions``, and with it ``datetime``."""
        self.capabilities = self._probe()

    def _probe(self) -> Capabilities:
        """Find the features of the template and the variables of tools without which it renders nothing.

        A template that always loops over ``tools`` needs an empty list; that of firefunction-v2 needs ``functions``.
        """
        conventions: list[tuple[tuple[()] | None, bool]] = [(None, False), ((), False)]
        if _FUNCTIONS in self.variables:
            conventions.append((None, True))
        for self._no_tools, self._takes_functions in conventions:
            capabilities = probe(self.render, self.variables, self.source)
            if capabilities is not None:
                return capabilities
        raise ChatTemplateError(f"The chat template does not render a user message. {_failure(self.render)}".strip())

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        max_output: int = MAX_OUTPUT,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,  # noqa: ANN401 (template variables may be anything JSON can say)
    ) -> str:
        """Return the prompt's text.

        Raises ``InvalidRequestError`` with param ``messages`` when the template refuses the conversation or fails on
        it, and when the text has more than ``max_output`` characters; ``MemoryError`` at the process's limit.
        """
        variables = {"documents": None, **self._tool_variables(tools), **variables, **self._tokens}
        stream = self._template.generate(variables, messages=messages, add_generation_prompt=add_generation_prompt)
        try:
            pieces = list(_bounded(stream, max_output))
        except _TooLongError as error:
            raise InvalidRequestError(
                f"The messages give a prompt of more than {max_output} characters, too long for this model. "
                "Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            ) from error
        except MemoryError:
            raise
        except Exception as error:  # a template is foreign code: any of its errors concerns the conversation
            raise _refusal(error) from error
        return "".join(pieces)

    def _tool_variables(self, tools: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
        """Return the variables of the tools. llama.cpp sets ``functions`` and ``datetime`` alike (common/chat.cpp)."""
        if not self._takes_functions:
            return {"tools": self._no_tools if tools is None else tools}
        now = datetime.fromtimestamp(self._clock(), UTC).strftime("%b %d %Y %H:%M:%S GMT")
        return {"tools": None, _FUNCTIONS: to_json(tools, indent=2) if tools else "", "datetime": now}


def _check_size(tree: nodes.Template) -> None:
    size = sum(1 for _ in tree.find_all(nodes.Node))
    if size > MAX_NODES:
        raise ChatTemplateError(f"it has {size} expressions and statements, more than {MAX_NODES}")


def _texts(tree: nodes.Template) -> tuple[str, ...]:
    data = [node.data for node in tree.find_all(nodes.TemplateData)]
    return (*data, *(node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)))


def _failure(render: Callable[..., str]) -> str:
    try:
        render([{"role": "user", "content": "Maple"}])
    except InvalidRequestError as error:
        return error.message
    return ""


def _bounded(stream: Iterator[str], left: int) -> Iterator[str]:
    for piece in stream:
        left -= len(piece)
        if left < 0:
            raise _TooLongError
        yield piece


def to_json(
    value: Any,  # noqa: ANN401 (anything JSON can say)
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 (templates pass it by position as Hugging Face allows)
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Write JSON as Hugging Face's ``tojson`` filter does: Jinja's own escapes HTML, which no model was trained on.

    Lone surrogates stay as they are even with ``ensure_ascii``: they are masks (:mod:`antiphon.rendering.prompt`).
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    return _BEYOND_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], text) if ensure_ascii else text


def _refusal(error: Exception) -> InvalidRequestError:
    if isinstance(error, _RaisedError):
        message = f"The model's chat template refuses the messages: {error}"
    else:
        message = f"The model's chat template fails on the messages: {type(error).__name__}: {error}"
    return InvalidRequestError(message[:MAX_MESSAGE], param="messages")


class _TooLongError(Exception):
    """The output has more characters than asked for."""


class _RaisedError(TemplateError):
    """Raised by the template itself, by ``raise_exception``."""


def _raise_exception(message: object) -> NoReturn:
    raise _RaisedError(str(message))


class _Generation(Extension):
    """``{% generation %}`` marks what the assistant wrote, for training masks; here its body is just rendered."""

    tags = {"generation"}  # noqa: RUF012 (declared so by Jinja)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Return the statements up to ``endgeneration``."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(clock: Callable[[], float]) -> ImmutableSandboxedEnvironment:
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )

    def strftime_now(form: str) -> str:
        return datetime.fromtimestamp(clock(), UTC).astimezone().strftime(form)

    sandbox.filters["tojson"] = to_json
    sandbox.globals["raise_exception"] = _raise_exception
    sandbox.globals["strftime_now"] = strftime_now
    return sandbox
