"""One grammar for the whole answer: reasoning, then text, JSON or calls, as the request and the model's family want it.

Reference: ``response_format``, ``tools``, ``tool_choice``, ``parallel_tool_calls``. The rules:

- Reasoning is free, and what is asked for holds for what comes behind it.
- Where the model may choose (``auto``), text is free up to a trigger of the family's notation. From there on it is a
  call of a tool that may be called, with arguments that its schema admits; an answer ends behind its calls. Where no
  call may come (``none``), a trigger cannot occur.
- ``required`` and named choices begin inside the first call: its opening is forced.
- With a JSON format the content is that JSON, or the answer is calls.
- The call of a custom tool comes last, because its input runs to the end.
"""

from typing import Literal

from msgspec import Struct

from antiphon.chat_formats.chat_format import CUSTOM_CALL, ReasoningMarkers, ToolNotation
from antiphon.constraints.custom_tools import CallableCustom, custom_input
from antiphon.constraints.lark import ANY, Lark, Markers, excluding, sequence
from antiphon.constraints.tool_grammar import CallRules
from antiphon.constraints.tool_parameters import CallableFunction

_CLOSING_MARKS = 4
"""Marks of content that may come behind the last content or call."""


class CallConstraints(Struct, frozen=True, kw_only=True):
    """The calls that an answer may have or must have."""

    mode: Literal["none", "auto", "required"]
    parallel: bool
    functions: list[CallableFunction]
    customs: list[CallableCustom]


class AnswerShape(Struct, frozen=True, kw_only=True):
    """What an answer has to keep to."""

    schema: str | None = None
    """JSON Schema of the content, as the grammar's compiler takes it."""
    calls: CallConstraints | None = None
    reasoning: ReasoningMarkers | None = None
    reasoning_open: bool = False
    """The prompt ends inside an open reasoning block."""
    opening: str = ""
    """What of the notation the prompt ends with."""


def answer_grammar(answer: AnswerShape, notation: ToolNotation, markers: Markers) -> str:
    """Return the grammar, as llguidance reads it; empty when everything is admitted."""
    if answer.schema is None and answer.calls is None:
        return ""
    return _AnswerRules(answer, notation, markers).text()


class _AnswerRules:
    def __init__(self, answer: AnswerShape, notation: ToolNotation, markers: Markers) -> None:
        self._answer = answer
        self._calls = answer.calls or CallConstraints(mode="none", parallel=False, functions=[], customs=[])
        self._notation = notation
        self._markers = markers
        self._lark = Lark()
        marks = [markers.unended(mark) for mark in notation.content_marks]
        self._mark = notation.content_marks[0] if notation.content_marks else ""
        self._marks = [markers.literal(mark) for mark in marks if mark]

    def text(self) -> str:
        reasoning = self._answer.reasoning
        answer = self._lark.rule("answer", " | ".join(self._answers()))
        if reasoning is None:
            return self._lark.text(answer)
        end = reasoning.end.removesuffix(self._mark)
        reasoned = sequence(self._markers.until(self._lark, "reasoning", ANY, end), self._newlines(), answer)
        if self._answer.reasoning_open:
            return self._lark.text(reasoned)
        return self._lark.text(f"{answer} | {sequence(self._markers.literal(reasoning.start), reasoned)}")

    def _newlines(self) -> str:
        """Write the newlines behind the reasoning; free text has them itself, and channels have none."""
        strict = self._calls.mode == "required" or self._answer.schema is not None
        return "/\\n{1,2}/?" if strict and not self._mark else ""

    def _answers(self) -> list[str]:
        calls = self._calls
        if calls.mode == "required":
            return self._calls_only()
        if self._answer.schema is not None:
            content = sequence(self._opened(self._mark), f"%json {self._answer.schema}", self._closing())
            return [content, *(self._calls_only() if calls.mode == "auto" else [])]
        if calls.mode == "none":
            return [self._free()]
        return [self._free(), *self._free_with_calls()]

    def _calls_only(self) -> list[str]:
        answers = []
        if self._calls.functions:
            answers.append(sequence(self._section(self._notation, self._answer.opening), self._behind()))
        if self._calls.customs:
            answers.append(sequence(self._opened(self._mark), self._custom(CUSTOM_CALL.start, "")))
        return answers

    def _free_with_calls(self) -> list[str]:
        """Write free text with the calls behind it."""
        answers = []
        if self._calls.functions:
            trigger = self._notation.triggers[0]
            if self._mark:
                answers.append(sequence(self._section(self._notation, self._answer.opening), self._behind()))
            answers.append(
                sequence(self._up_to(trigger, "call"), self._section(self._notation, trigger), self._behind())
            )
            answers += [
                self._alternative(number, notation) for number, notation in enumerate(self._notation.alternatives)
            ]
        if self._calls.customs:
            answers.append(sequence(self._up_to(CUSTOM_CALL.start, "custom"), self._custom("", "")))
        return answers

    def _alternative(self, number: int, notation: ToolNotation) -> str:
        """Write calls in another notation that the model may choose, where they begin the answer."""
        rules = CallRules(self._lark, self._markers, notation, f"other_{number}_")
        section = rules.section(self._calls.functions, parallel=self._calls.parallel)
        return sequence(section, self._behind())

    def _up_to(self, trigger: str, name: str) -> str:
        """Write free text up to the trigger and the trigger; before one of ``leading_only`` only whitespace."""
        if self._notation.leading_only and trigger in self._notation.triggers:
            return self._markers.until(self._lark, f"lead_{name}", "/\\s*/", trigger)
        text = self._markers.until(self._lark, f"text_{name}", self._text_expression(), trigger)
        return sequence(self._opened(self._mark), self._marked(), text)

    def _free(self) -> str:
        """Write content alone."""
        text = self._lark.terminal("text", self._text_expression())
        return sequence(self._opened(self._mark), self._marked(), text)

    def _marked(self) -> str:
        """Write runs of text with a mark behind each."""
        if not self._marks:
            return ""
        text = self._lark.terminal("text", self._text_expression())
        return f"({text} ({' | '.join(self._marks)}))*"

    def _text_expression(self) -> str:
        """Write the terminal expression of free text: what begins a call or a reasoning block cannot occur in it."""
        notations = (self._notation, *self._notation.alternatives)
        triggers = [text for one in notations if not one.leading_only for text in one.triggers]
        leading = [text.strip() for one in notations if one.leading_only for text in one.triggers]
        if self._calls.customs:
            triggers.append(CUSTOM_CALL.start)
        if self._answer.reasoning is not None:
            leading.append(self._answer.reasoning.start.strip())
        return excluding(excluding(ANY, triggers), leading, before="/\\s*/")

    def _section(self, notation: ToolNotation, written: str) -> str:
        rules = CallRules(self._lark, self._markers, notation, "more_" if written else "")
        return rules.section(self._calls.functions, parallel=self._calls.parallel, written=written)

    def _behind(self) -> str:
        """Write what may come behind the calls of functions."""
        if self._calls.customs and self._calls.parallel:
            custom = self._custom(f"\n{CUSTOM_CALL.start}", "next_")
            return f"({custom} | {closing})" if (closing := self._closing()) else f"({custom})?"
        return self._closing()

    def _custom(self, start: str, prefix: str) -> str:
        """Write a custom tool's call from ``start`` on."""
        calls = [
            sequence(
                self._markers.literal(f"{start}{tool.name}{CUSTOM_CALL.name_end}"),
                custom_input(self._lark, f"custom_{number}", tool),
            )
            for number, tool in enumerate(self._calls.customs)
        ]
        return self._lark.rule(f"{prefix or 'one_'}custom{'_open' if not start else ''}", " | ".join(calls))

    def _opened(self, text: str) -> str:
        """Write ``text`` at the start of the answer, without what of it the prompt ends with."""
        return self._markers.literal(text.removeprefix(self._answer.opening) if text else "")

    def _closing(self) -> str:
        marks = self._marks[1:]
        return f"({' | '.join(marks)}){{0,{_CLOSING_MARKS}}}" if marks else ""
