"""Renders the messages of a request to a prompt for one model."""

import json
from typing import Any

from antiphon.chat_formats.chat_format import HERMES, ChatFormat, tool_markers
from antiphon.errors import InvalidRequestError
from antiphon.protocol.combined_errors import combined
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.answer_constraints import AnswerConstraints
from antiphon.rendering.context_bounds import ContextBounds
from antiphon.rendering.default_system import with_default_system
from antiphon.rendering.instructions import instructions
from antiphon.rendering.masks import Mask, masked
from antiphon.rendering.prompt import Prompt, PromptEncoder, Vocabulary
from antiphon.rendering.prompt_end import cut_prompt, marked_turns, prompt_end
from antiphon.rendering.template_messages import template_messages
from antiphon.rendering.tool_use import customs_text, format_text, functions_text, template_tools
from antiphon.rendering.turns import BLANK_LINE, normalised_turns
from antiphon.templates.chat_template import RESERVED, ChatTemplate


class PromptRenderer:
    """Renders messages with the chat template of one model. Holds no state of requests."""

    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate, chat_format: ChatFormat) -> None:
        self._encoder = PromptEncoder(vocabulary, _written(template, chat_format))
        self._template = template
        self._reasoning = chat_format.reasoning
        self._notation = chat_format.tools

    def render(self, request: CreateChatCompletion, required: AnswerConstraints, bounds: ContextBounds) -> Prompt:
        """Render the conversation. The system message describes functions that the template does not render.

        Raises ``InvalidRequestError``, also for a prompt that is longer than the context by its text alone.
        """
        tools = self._template_tools(required)
        if tools is not None:
            try:
                return self._rendered(request, required, tools, bounds)
            except InvalidRequestError as error:
                if error.code is not None:
                    raise
        return self._rendered(request, required, None, bounds)

    def _rendered(
        self,
        request: CreateChatCompletion,
        required: AnswerConstraints,
        tools: list[dict[str, Any]] | None,
        bounds: ContextBounds,
    ) -> Prompt:
        capabilities = self._template.capabilities
        asked = instructions(request, capabilities, self._reasoning)
        texts = [
            format_text(request.response_format),
            *self._tool_texts(required, native=tools is not None),
            asked.text,
        ]
        added = BLANK_LINE.join(filter(None, texts))
        replaces_default = bool(added) and request.messages[0].role not in {"system", "developer"}
        bounds.check_size(len(request.messages), bounds.max_model_len, "messages")
        end = prompt_end(request)
        turns = marked_turns(normalised_turns(request.messages, capabilities, added, opens_turn=end == "turn"), end)
        size = sum(turn.size for turn in turns) + (0 if tools is None else len(json.dumps(tools)))
        bounds.check_size(size, bounds.max_characters, "characters")
        kwargs = request.chat_template_kwargs or {}
        self._check_template_kwargs(kwargs)

        def render(texts: Mask, variables: Mask) -> str:
            messages = template_messages(turns, capabilities, texts)
            own = {name: masked(value, variables) for name, value in kwargs.items()}
            if tools is not None:
                own["tools"] = masked(tools, variables)

            def write(messages: list[dict[str, Any]]) -> str:
                return self._template.render(
                    messages,
                    add_generation_prompt=end == "turn",
                    max_output=bounds.max_characters,
                    **{**asked.variables, **own},
                )

            rendered = write(with_default_system(messages, capabilities, write) if replaces_default else messages)
            return cut_prompt(rendered, end)

        def suffix(ending: str) -> str:
            return self._closing(ending) if asked.closes_reasoning and end == "turn" else ""

        return self._encoder.encode(render, suffix, bounds.check_bytes)

    def _template_tools(self, required: AnswerConstraints) -> list[dict[str, Any]] | None:
        """Return the functions for a template that describes them in the notation of the answer, else None."""
        native = self._template.capabilities.tools and required.notation == self._notation
        if self._notation == HERMES:
            native = native and HERMES.triggers[0] in self._template.source
        return template_tools(required.use) if native and required.use and required.use.functions else None

    def _tool_texts(self, required: AnswerConstraints, *, native: bool) -> list[str]:
        """Return what the system message says of tools."""
        use = required.use
        if use is None:
            return []
        functions = functions_text(use, required.notation) if use.functions and not native else ""
        return [functions, customs_text(use) if use.customs else ""]

    def _check_template_kwargs(self, kwargs: dict[str, Any]) -> None:
        error = combined(_unknown_variable(name) for name in kwargs if name not in self._template.variables)
        if error is not None:
            raise error

    def draft(self, text: str) -> list[int]:
        """Return the ids of a text that the model may write; see :meth:`PromptEncoder.draft`."""
        return self._encoder.draft(text)

    def opens_reasoning(self, ending: str) -> bool:
        """Return whether a prompt with this ending opens a reasoning block."""
        return self._reasoning is not None and ending.endswith(self._reasoning.start)

    def _closing(self, ending: str) -> str:
        """Return the text after which the prompt ends with a closed reasoning block."""
        assert self._reasoning is not None
        if self.opens_reasoning(ending):
            return f"\n{self._reasoning.end}\n\n"
        return f"{self._reasoning.start}\n\n{self._reasoning.end}\n\n"


def _written(template: ChatTemplate, chat_format: ChatFormat) -> tuple[str, ...]:
    """Return the texts by which the template and the notations mark something."""
    reasoning = chat_format.reasoning
    markers = (*tool_markers(chat_format.tools), *tool_markers(HERMES))
    return (*template.texts, *markers, *((reasoning.start, reasoning.end) if reasoning else ()))


def _unknown_variable(name: str) -> InvalidRequestError:
    reason = "is set by the server" if name in RESERVED else "is not a variable of this model's chat template"
    return InvalidRequestError(
        f"Invalid value: '{name[:64]}' {reason}.", param=f"chat_template_kwargs.{name[:64]}", code="invalid_value"
    )
