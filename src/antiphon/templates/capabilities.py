"""Finds the features of a chat template: it renders small conversations and searches the result for their words.

A template that raises, or that drops the word, does not support the thing asked. This is done once per model: a
template says nothing about itself, and its text alone misleads (llama.cpp probes in the same way).
"""

import json
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from antiphon.errors import InvalidRequestError

Render = Callable[..., str]
Message = dict[str, Any]
Content = Literal["null", "empty", "absent"]
Arguments = Literal["object", "text"]

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Values of ``reasoning_effort``, rising."""
_EFFORT_VARIABLES: Final = ("reasoning_effort", "thinking_effort", "reasoning_strength")
_SWITCHES: Final = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("thinking_mode", "enabled", "disabled"),
    ("thinking_budget", -1, 0),
)
_NO_EFFORT: Final = ("none", "no_think", "minimal", "low")
"""Values by which templates turn reasoning off, the preferred one first."""

_CONTENTS: Final[tuple[Content, ...]] = ("null", "empty", "absent")
_ARGUMENTS: Final[tuple[Arguments, ...]] = ("object", "text")
_REASONING_KEYS: Final = ("reasoning_content", "reasoning")
_SYSTEM, _USER, _ANSWER, _NAME, _LATER = "Copper", "Maple", "Falcon", "Olivia", "Harbour"
_TOOL, _KEY, _VALUE, _RESULT, _REASONING = "fetch_orbit", "planet_key", "Neptune", "Glacier", "Lantern"
_ACKNOWLEDGEMENTS: Final = ("", "OK.")
"""Texts of an assistant message that says nothing, first choice first: some templates refuse an empty one."""
_LONG_ID, _SHORT_ID = "call_0123456789abcdefghijklmn", "abcdef123"


class Switch(Struct, frozen=True):
    """The variable that turns reasoning on and off."""

    variable: str
    on: bool | str | int
    off: bool | str | int


class ToolHistory(Struct, frozen=True, kw_only=True):
    """The form of tool calls and tool results in the history that the template renders."""

    content: Content
    """The content of an assistant message that only calls tools."""
    arguments: Arguments
    short_ids: bool
    """Call ids must be nine letters and digits (Mistral)."""
    parallel: bool
    """Several calls in one message are rendered."""
    text: bool = True
    """The text of a message is rendered beside its calls."""
    acknowledgement: str | None = None
    """The text of the assistant message between results and a user message; None if such a message is not needed."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """The features of a template. Messages are normalised to these features."""

    system: bool
    late_system: bool
    """System messages anywhere and any number of them, not only one at the beginning."""
    developer: bool
    typed_content: bool
    """``content`` must be a list of parts."""
    consecutive: bool
    """Messages of one role may follow each other."""
    assistant_first: bool
    generation_prompt: bool
    """``add_generation_prompt`` opens a turn of the assistant even after a message of the assistant."""
    names: frozenset[str]
    """Roles whose ``name`` is rendered."""
    reasoning_key: str | None
    """The key of an assistant message whose text is rendered as its reasoning."""
    tools: bool
    """The variable ``tools`` is rendered."""
    tool_history: ToolHistory | None
    switch: Switch | None
    effort_variable: str | None
    efforts: Mapping[str, str]
    """Values of ``reasoning_effort`` that the template takes, and how it calls them."""
    verbosity: bool


def probe(render: Render, variables: frozenset[str], source: str) -> Capabilities | None:
    """Find out what a template supports; None when not even a user message is rendered.

    ``render(messages, **variables)`` raises ``InvalidRequestError`` where the template fails; ``variables`` are the
    names that it looks up.
    """
    probing = _Probe(render, typed=False)
    if not probing.renders([probing.user()], _USER):
        probing = _Probe(render, typed=True)
        if not probing.renders([probing.user()], _USER):
            return None
    history = probing.tool_history()
    switch = next((Switch(*s) for s in _SWITCHES if s[0] in variables and probing.differs(s[0], s[1:])), None)
    on = {} if switch is None else {switch.variable: switch.on}
    effort = next((v for v in _EFFORT_VARIABLES if v in variables and probing.differs(v, EFFORTS, **on)), None)
    return Capabilities(
        system=probing.system(history),
        late_system=probing.late_system(),
        developer=probing.developer(source),
        typed_content=probing.typed,
        consecutive=probing.consecutive(),
        assistant_first=probing.renders([probing.assistant(), probing.user()], _ANSWER, _USER),
        generation_prompt=probing.opens_turn(),
        names=probing.names(history),
        reasoning_key=probing.reasoning_key(history),
        tools=probing.tools(),
        tool_history=history,
        switch=switch,
        effort_variable=effort,
        efforts={} if effort is None else probing.efforts(effort, **on),
        verbosity="verbosity" in variables and probing.differs("verbosity", ("low", "high")),
    )


class _Probe:
    """Conversations of a few words, and what became of them."""

    def __init__(self, render: Render, *, typed: bool) -> None:
        self._render = render
        self.typed = typed

    def user(self, text: str = _USER, **more: object) -> Message:
        return {"role": "user", "content": self._content(text), **more}

    def assistant(self, text: str = _ANSWER, **more: object) -> Message:
        return {"role": "assistant", "content": self._content(text), **more}

    def instructions(self, role: str = "system", text: str = _SYSTEM, **more: object) -> Message:
        return {"role": role, "content": self._content(text), **more}

    def text(self, messages: list[Message], **variables: object) -> str | None:
        """Return the prompt, or None when the template fails."""
        try:
            return self._render(messages, **variables)
        except InvalidRequestError:
            return None

    def renders(self, messages: list[Message], *words: str) -> bool:
        prompt = self.text(messages)
        return prompt is not None and all(word in prompt for word in words)

    def differs(self, variable: str, values: tuple[object, ...], **more: object) -> bool:
        """Return whether two of the values give different prompts."""
        prompts = {self.text([self.user()], **more, **{variable: value}) for value in values} - {None}
        return len(prompts) > 1

    def system(self, history: ToolHistory | None) -> bool:
        """Return whether a first system message is rendered, also in longer conversations."""
        begin = [self.instructions(), self.user()]
        conversations = [begin, [*begin, self.assistant(), self.user(_LATER)]]
        if history is not None:
            conversations.append([*begin, *self._exchange(history, 1)])
        return all(self.renders(messages, _SYSTEM) for messages in conversations)

    def late_system(self) -> bool:
        return self.renders(
            [
                self.instructions(),
                self.instructions(text=_NAME),
                self.user(),
                self.assistant(),
                self.instructions(text=_RESULT),
                self.user(_LATER),
            ],
            *(_SYSTEM, _NAME, _RESULT, _LATER),
        )

    def developer(self, source: str) -> bool:
        """Return whether the template names the role and renders it anywhere. Some templates write any role."""
        named = "'developer'" in source or '"developer"' in source
        developer = [self.instructions("developer", text) for text in (_NAME, _RESULT)]
        late = [self.user(), self.assistant(), developer[1], self.user(_LATER)]
        beside = [self.instructions(), developer[0], *late]
        alone = [developer[0], *late]
        return named and self.renders(beside, _SYSTEM, _NAME, _RESULT) and self.renders(alone, _NAME, _RESULT)

    def consecutive(self) -> bool:
        messages = [self.user(), self.user(_LATER), self.assistant(), self.assistant(_NAME), self.user(_RESULT)]
        return self.renders(messages, _USER, _LATER, _ANSWER, _NAME, _RESULT)

    def opens_turn(self) -> bool:
        messages = [self.user(), self.assistant()]
        return self.text(messages, add_generation_prompt=True) != self.text(messages, add_generation_prompt=False)

    def names(self, history: ToolHistory | None) -> frozenset[str]:
        conversations: dict[str, list[Message]] = {
            "system": [self.instructions(name=_NAME), self.user()],
            "user": [self.user(name=_NAME)],
            "assistant": [self.user(), self.assistant(name=_NAME), self.user()],
        }
        if history is not None:
            calling, result = self._exchange(history, 1)
            conversations["tool"] = [self.user(), calling, {**result, "name": _NAME}]
        return frozenset(role for role, messages in conversations.items() if self.renders(messages, _NAME))

    def reasoning_key(self, history: ToolHistory | None) -> str | None:
        """Many templates keep the reasoning of the last exchange only, so a tool exchange is tried as well."""
        plain = [self.user(), self.assistant(), self.user(_LATER)]
        conversations = [plain] if history is None else [plain, [self.user(), *self._exchange(history, 1)]]
        for key in _REASONING_KEYS:
            for begin, said, *rest in conversations:
                if self.renders([begin, {**said, key: _REASONING}, *rest], _REASONING):
                    return key
        return None

    def tools(self) -> bool:
        parameters = {"type": "object", "properties": {_KEY: {"type": "string"}}}
        function = {"name": _TOOL, "description": _NAME, "parameters": parameters}
        prompt = self.text([self.user()], tools=[{"type": "function", "function": function}])
        return prompt is not None and _TOOL in prompt

    def efforts(self, variable: str, **more: object) -> dict[str, str]:
        """Return the values that the template takes; for ``none`` the first of its names that is not a high effort."""
        prompts = {value: self.text([self.user()], **more, **{variable: value}) for value in (*EFFORTS, *_NO_EFFORT)}
        taken = {value: value for value in EFFORTS[1:] if prompts[value] is not None}
        off = next((v for v in _NO_EFFORT if prompts[v] is not None and prompts[v] != prompts["high"]), None)
        return taken if off is None else {"none": off, **taken}

    def tool_history(self) -> ToolHistory | None:
        """Return the first notation in which calls and results are rendered, in the order of their likelihood."""
        for short_ids, content, arguments in product((False, True), _CONTENTS, _ARGUMENTS):
            history = ToolHistory(content=content, arguments=arguments, short_ids=short_ids, parallel=False)
            if self._takes(history, 1):
                return replace(
                    history,
                    parallel=self._takes(history, 2),
                    text=self._takes(history, 1, text=_ANSWER),
                    acknowledgement=self._acknowledgement(history),
                )
        return None

    def _acknowledgement(self, history: ToolHistory) -> str | None:
        conversation = [self.user(), *self._exchange(history, 1)]
        if not self.renders([*conversation, self.user(_LATER)], _LATER):
            for text in _ACKNOWLEDGEMENTS:
                if self.renders([*conversation, self.assistant(text), self.user(_LATER)], _LATER):
                    return text
        return None

    def _takes(self, history: ToolHistory, calls: int, text: str = "") -> bool:
        """Return whether an exchange is rendered, with a text beside the calls."""
        exchange = self._exchange(history, calls)
        if text:
            exchange[0]["content"] = self._content(text)
        prompt = self.text([self.user(), *exchange])
        if prompt is None or "None" in prompt or f"'{_KEY}'" in prompt or f'\\"{_KEY}' in prompt:
            return False
        words = [word + str(i) for word in (_TOOL, _VALUE, _RESULT) for i in range(calls)]
        return all(word in prompt for word in (*words, text))

    def _exchange(self, history: ToolHistory, calls: int) -> list[Message]:
        ids = [(_SHORT_ID if history.short_ids else _LONG_ID)[:-1] + str(i) for i in range(calls)]
        made = []
        for i, call_id in enumerate(ids):
            arguments: object = {_KEY: f"{_VALUE}{i}"}
            if history.arguments == "text":
                arguments = json.dumps(arguments)
            made.append(
                {"id": call_id, "type": "function", "function": {"name": f"{_TOOL}{i}", "arguments": arguments}}
            )
        calling: Message = {"role": "assistant", "content": None, "tool_calls": made}
        if history.content == "empty":
            calling["content"] = ""
        if history.content == "absent":
            del calling["content"]
        results = [
            {"role": "tool", "content": self._content(f"{_RESULT}{i}"), "tool_call_id": call_id, "name": f"{_TOOL}{i}"}
            for i, call_id in enumerate(ids)
        ]
        return [calling, *results]

    def _content(self, text: str) -> object:
        return [{"type": "text", "text": text}] if self.typed else text
