"""One grammar for the whole answer: reasoning, then text, JSON or calls in the notation of the model's family.

Reference: ``response_format``, ``tools``, ``tool_choice``, ``parallel_tool_calls``. The rules:

- Reasoning is unconstrained; the constraints hold after it.
- With ``auto``, text is free up to a trigger of the family's notation. After it the grammar admits a call of a declared
  tool with valid arguments; the answer ends after its calls. With ``none``, a trigger cannot occur.
- With ``required`` and named choices the opening of the first call is forced.
- With a JSON format or a grammar the content follows it, or the answer is calls.
- The call of a custom tool comes last, because its input extends to the end of the answer.
"""

from typing import Literal

from msgspec import Struct

from antiphon.chat_formats.chat_format import CUSTOM_CALL, ReasoningMarkers, ToolNotation
from antiphon.constraints.custom_tools import CallableCustom, custom_input, write_grammar
from antiphon.constraints.foreign_calls import ForeignCalls, foreign_calls
from antiphon.constraints.lark import ANY, Lark, Markers, excluding, sequence
from antiphon.constraints.tool_grammar import CallRules
from antiphon.constraints.tool_parameters import CallableFunction
from antiphon.protocol.tools import Grammar

_CLOSING_MARKS = 4
"""Content marks that may follow the last content or call."""


class CallConstraints(Struct, frozen=True, kw_only=True):
    """The calls that an answer may or must have."""

    mode: Literal["none", "auto", "required"]
    parallel: bool
    functions: list[CallableFunction]
    customs: list[CallableCustom]


class AnswerShape(Struct, frozen=True, kw_only=True):
    """The constraints on an answer, and the beginning that the prompt already holds."""

    schema: str | None = None
    """Compiled JSON Schema of the content."""
    grammar: Grammar | None = None
    """Grammar of the content, in place of a JSON Schema."""
    calls: CallConstraints | None = None
    foreign: bool = False
    """The answer may begin with calls of functions in foreign notations: with ``auto``, without schema and marks."""
    reasoning: ReasoningMarkers | None = None
    reasoning_open: bool = False
    """Whether the prompt ends inside an open reasoning block."""
    reasoning_budget: int | None = None
    """Tokens of the reasoning after which its end marker is forced."""
    opening: str = ""
    """The part of the notation that the prompt ends with."""
    content_open: bool = False
    """Whether the prompt ends inside the content."""

    @property
    def has_form(self) -> bool:
        """Whether the content has a schema or a grammar."""
        return self.schema is not None or self.grammar is not None


def answer_grammar(answer: AnswerShape, notation: ToolNotation, markers: Markers) -> str:
    """Return the grammar in llguidance's Lark dialect, or an empty text for an unconstrained answer."""
    if not answer.has_form and answer.calls is None and answer.reasoning_budget is None:
        return ""
    return _AnswerRules(answer, notation, markers).text()


class _AnswerRules:
    """Writes the rules of one answer."""

    def __init__(self, answer: AnswerShape, notation: ToolNotation, markers: Markers) -> None:
        self._answer = answer
        self._calls = answer.calls or CallConstraints(mode="none", parallel=False, functions=[], customs=[])
        self._notation = notation
        self._markers = markers
        self._lark = Lark()
        marks = [markers.without_end_tokens(mark) for mark in notation.content_marks]
        self._mark = notation.content_marks[0] if notation.content_marks else ""
        self._marks = [markers.literal(mark) for mark in marks if mark]
        self._foreign: list[ForeignCalls] = []
        if answer.foreign:
            self._foreign = foreign_calls(
                self._lark, markers, notation, self._calls.functions, parallel=self._calls.parallel
            )

    def text(self) -> str:
        reasoning = self._answer.reasoning
        answer = self._lark.rule("answer", " | ".join(self._answers()))
        if reasoning is None:
            return self._lark.text(answer)
        end = reasoning.end.removesuffix(self._mark)
        reasoned = sequence(self._reasoning(end), self._newlines(), answer)
        if self._answer.reasoning_open:
            return self._lark.text(reasoned)
        return self._lark.text(f"{answer} | {sequence(self._markers.literal(reasoning.start), reasoned)}")

    def _reasoning(self, end: str) -> str:
        """Write the reasoning up to and including its end marker."""
        budget = self._answer.reasoning_budget
        if budget is None:
            return self._markers.until(self._lark, "reasoning", ANY, end)
        thought = self._lark.limited("thought", self._lark.terminal("reasoning", ANY), budget) if budget else ""
        return sequence(thought, self._markers.literal(end))

    def _newlines(self) -> str:
        """Write the newlines after the reasoning; free text includes them, and channels have none."""
        strict = self._calls.mode == "required" or self._answer.has_form
        return "/\\n{1,2}/?" if strict and not self._mark else ""

    def _answers(self) -> list[str]:
        calls = self._calls
        if calls.mode == "required":
            return self._calls_only()
        if self._answer.has_form:
            content = sequence(self._start_literal(self._mark), self._form(), self._closing())
            return [content, *(self._calls_only() if calls.mode == "auto" else [])]
        if self._answer.calls is None and not self._mark:
            return [self._lark.terminal("anything", ANY)]
        if calls.mode == "none":
            return [self._free_text()]
        return [self._free_text(), *self._text_then_calls(), *map(self._foreign_start, self._foreign)]

    def _form(self) -> str:
        if self._answer.grammar is not None:
            return write_grammar(self._lark, "form", self._answer.grammar)
        return f"%json {self._answer.schema}"

    def _calls_only(self) -> list[str]:
        answers = []
        if self._calls.functions:
            closing = self._closing() if self._answer.content_open else ""
            section = self._section(self._notation, self._answer.opening)
            answers.append(sequence(closing, section, self._after_calls()))
        if self._calls.customs:
            answers.append(sequence(self._start_literal(self._mark), self._custom(CUSTOM_CALL.start, "")))
        return answers

    def _text_then_calls(self) -> list[str]:
        """Write free text followed by calls."""
        answers = []
        if self._calls.functions:
            trigger = self._notation.triggers[0]
            if self._mark and not self._answer.content_open:
                answers.append(sequence(self._section(self._notation, self._answer.opening), self._after_calls()))
            text = self._text_until_trigger(trigger, "call")
            answers.append(sequence(text, self._section(self._notation, trigger), self._after_calls()))
            answers += [
                self._alternative(number, notation) for number, notation in enumerate(self._notation.alternatives)
            ]
        if self._calls.customs:
            answers.append(sequence(self._text_until_trigger(CUSTOM_CALL.start, "custom"), self._custom("", "")))
        return answers

    def _foreign_start(self, way: ForeignCalls) -> str:
        """Write an answer that begins as calls in a foreign notation do: calls, or text that goes on otherwise."""
        text = f"{excluding(ANY, self._triggers())} & ~({way.names} {ANY})"
        answers = [sequence(way.calls, self._after_calls()), f"{self._lark.terminal(f'{way.opening}_text', text)}?"]
        if not self._notation.leading_only:
            trigger = self._notation.triggers[0]
            until = self._markers.until(self._lark, f"{way.opening}_call", text, trigger)
            answers.append(sequence(until, self._section(self._notation, trigger), self._after_calls()))
        if self._calls.customs:
            until = self._markers.until(self._lark, f"{way.opening}_custom", text, CUSTOM_CALL.start)
            answers.append(sequence(until, self._custom("", "")))
        return sequence(way.opening, f"({' | '.join(answers)})")

    def _alternative(self, number: int, notation: ToolNotation) -> str:
        """Write calls in another notation of the model, at the start of the answer."""
        rules = CallRules(self._lark, self._markers, notation, f"other_{number}_")
        section = rules.section(self._calls.functions, parallel=self._calls.parallel)
        return sequence(section, self._after_calls())

    def _text_until_trigger(self, trigger: str, name: str) -> str:
        """Write free text up to and including the trigger; a ``leading_only`` trigger follows whitespace only."""
        if self._notation.leading_only and trigger in self._notation.triggers:
            return self._markers.until(self._lark, f"lead_{name}", "/\\s*/", trigger)
        text = self._markers.until(self._lark, f"text_{name}", self._text_expression(), trigger)
        return sequence(self._start_literal(self._mark), self._marked_texts(), text)

    def _free_text(self) -> str:
        """Write free text without calls."""
        text = self._lark.terminal("text", self._text_expression())
        return sequence(self._start_literal(self._mark), self._marked_texts(), text)

    def _marked_texts(self) -> str:
        """Write runs of text, each followed by a mark."""
        if not self._marks:
            return ""
        text = self._lark.terminal("text", self._text_expression())
        return f"({text} ({' | '.join(self._marks)}))*"

    def _text_expression(self) -> str:
        """Write the terminal expression of free text, in which no call and no reasoning block can begin."""
        notations = (self._notation, *self._notation.alternatives)
        leading = [text.strip() for one in notations if one.leading_only for text in one.triggers]
        if self._answer.reasoning is not None:
            leading.append(self._answer.reasoning.start.strip())
        return excluding(excluding(ANY, self._triggers()), leading, before="/\\s*/")

    def _triggers(self) -> list[str]:
        """Return the texts that begin calls anywhere in free text."""
        notations = (self._notation, *self._notation.alternatives)
        custom = [CUSTOM_CALL.start] if self._calls.customs else []
        return [*(text for one in notations if not one.leading_only for text in one.triggers), *custom]

    def _section(self, notation: ToolNotation, written: str) -> str:
        rules = CallRules(self._lark, self._markers, notation, "more_" if written else "")
        return rules.section(self._calls.functions, parallel=self._calls.parallel, written=written)

    def _after_calls(self) -> str:
        """Write the content of an answer after its function calls: a custom call or closing marks."""
        if self._calls.customs and self._calls.parallel:
            custom = self._custom(f"\n{CUSTOM_CALL.start}", "next_")
            return f"({custom} | {closing})" if (closing := self._closing()) else f"({custom})?"
        return self._closing()

    def _custom(self, start: str, prefix: str) -> str:
        """Write a custom tool's call, from the text ``start`` on."""
        calls = [
            sequence(
                self._markers.literal(f"{start}{tool.name}{CUSTOM_CALL.name_end}"),
                custom_input(self._lark, f"custom_{number}", tool),
            )
            for number, tool in enumerate(self._calls.customs)
        ]
        return self._lark.rule(f"{prefix or 'one_'}custom{'_open' if not start else ''}", " | ".join(calls))

    def _start_literal(self, text: str) -> str:
        """Write ``text`` at the start of the answer, without the part that the prompt ends with."""
        if self._answer.content_open:
            return ""
        return self._markers.literal(text.removeprefix(self._answer.opening) if text else "")

    def _closing(self) -> str:
        marks = self._marks[1:]
        return f"({' | '.join(marks)}){{0,{_CLOSING_MARKS}}}" if marks else ""
