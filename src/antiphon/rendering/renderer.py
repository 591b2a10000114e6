"""From a checked request to what the engine is asked to do: prompt ids, grammar, sampling, token budget."""

import copy
import json
from collections.abc import Callable
from typing import Any, Final, Protocol

from antiphon.chat_formats.answer_calls import AnswerCalls
from antiphon.chat_formats.chat_format import HERMES, ChatFormat, ToolNotation, tool_markers
from antiphon.constraints.answer_grammar import AnswerShape, answer_grammar
from antiphon.constraints.json_schema import shorten_problem, validate_grammar
from antiphon.constraints.lark import Markers, MarkerVocabulary
from antiphon.engine.interface import GenerateRequest, ServiceTier, TokenSegment
from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.requests import CreateChatCompletion, Prediction
from antiphon.rendering.answer_constraints import AnswerConstraints, answer_constraints
from antiphon.rendering.instructions import instructions
from antiphon.rendering.prompt import Prompt, PromptEncoder, Vocabulary
from antiphon.rendering.render_job import Rendering
from antiphon.rendering.sampling_parameters import sampling_params
from antiphon.rendering.tool_use import customs_text, format_text, functions_text, template_tools
from antiphon.rendering.turns import BLANK_LINE, Mask, masked, normalised_turns, template_messages
from antiphon.templates.chat_template import RESERVED, ChatTemplate

MAX_CHARACTERS_PER_TOKEN: Final = 256
"""No text has fewer tokens than its characters by this; longer ones are refused before they are rendered."""
ReportField = Callable[[str], None]
"""Called with the name of a field of the request before work on it begins."""
SERVICE_TIERS: Final[dict[str | None, ServiceTier]] = {
    None: "default",
    "auto": "default",
    "default": "default",
    "scale": "default",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
}
"""Asked for, and used. There is no scale tier here, so that the answer says ``default``, as the reference does then."""


class RendererVocabulary(Vocabulary, MarkerVocabulary, Protocol):
    """The part of a tokenizer that the renderer needs."""

    @property
    def longest_token(self) -> int:
        """Bytes of the longest token's text, or more."""


class Trial(Protocol):
    """Tries a grammar out as the engine will follow it."""

    def problem(self, grammar: str) -> str:
        """Return what keeps the engine from following it, or the empty text."""


class Renderer:
    """Renders requests for one model. Holds no state of requests; may be called from several threads."""

    def __init__(
        self,
        tokenizer: RendererVocabulary,
        template: ChatTemplate,
        chat_format: ChatFormat,
        max_model_len: int,
        trial: Trial | None = None,
    ) -> None:
        """Hold the parts. With a ``trial`` grammars are tried out, which may take long or crash."""
        self._n_vocab = tokenizer.n_vocab
        self._encoder = PromptEncoder(tokenizer, _written(template, chat_format))
        self._template = template
        self._reasoning = chat_format.reasoning
        self._notation = chat_format.tools
        self._markers = Markers(tokenizer)
        self._longest_token = tokenizer.longest_token
        self._trial = trial
        self._bound(max_model_len)

    def for_context(self, max_model_len: int) -> "Renderer":
        """Return a renderer of the same parts for a context of so many tokens."""
        renderer = copy.copy(self)
        renderer._bound(max_model_len)  # noqa: SLF001 (its own class)
        return renderer

    def _bound(self, max_model_len: int) -> None:
        self._max_model_len = max_model_len
        self._max_output = max_model_len * MAX_CHARACTERS_PER_TOKEN
        self._max_bytes = max_model_len * self._longest_token

    def render(
        self,
        request: CreateChatCompletion,
        request_id: str,
        cache_salt: str,
        report_field: ReportField = lambda _: None,
    ) -> Rendering:
        """Return the work for the engine. Raises ``InvalidRequestError``.

        The prompt must leave room for one token; ``max_completion_tokens`` may ask for more than is left and is capped,
        as in the reference. ``report_field`` is called before the work on each field, except for ``messages``
        at the beginning.
        """
        constraining = _constraining_field(request)
        if constraining is not None:
            report_field(constraining)
        required = answer_constraints(request, self._notation)
        if constraining is not None:
            report_field("messages")
        prompt = self._prompt(request, required)
        self._check_length(len(prompt.ids))
        if request.prediction is not None:
            report_field("prediction")
        prediction_ids = self._prediction_ids(request.prediction)
        if constraining is not None:
            report_field(required.param)
        answer = self._answer(required, prompt.ending)
        tier = SERVICE_TIERS[request.service_tier]
        top_logprobs = (request.top_logprobs or 0) if request.logprobs else None
        return Rendering(
            generate=GenerateRequest(
                request_id=request_id,
                prompt=(TokenSegment(prompt.ids),),
                sampling=sampling_params(
                    request,
                    left=self._max_model_len - len(prompt.ids),
                    n_vocab=self._n_vocab,
                    top_logprobs=top_logprobs,
                ),
                n=request.n or 1,
                grammar=self._grammar(answer, required),
                prediction_ids=prediction_ids,
                cache_salt=_cache_salt(cache_salt, request.prompt_cache_key),
                service_tier=tier,
            ),
            stop=_stop(request.stop),
            reasoning=self._reasoning,
            reasoning_open=answer.reasoning_open,
            tools=_tools(required, answer.opening),
            top_logprobs=top_logprobs,
            service_tier=tier,
        )

    def _answer(self, required: AnswerConstraints, ending: str) -> AnswerShape:
        reasoning_open = self._opens_reasoning(ending)
        return AnswerShape(
            schema=required.schema,
            calls=required.calls,
            reasoning=self._reasoning,
            reasoning_open=reasoning_open,
            opening="" if reasoning_open else _opening(required.notation, ending),
        )

    def _grammar(self, answer: AnswerShape, required: AnswerConstraints) -> str:
        grammar = answer_grammar(answer, required.notation, self._markers)
        if grammar:
            validate_grammar(grammar, param=required.param)
            problem = "" if self._trial is None else self._trial.problem(grammar)
            if problem:
                raise validation.invalid_value(required.param, f"no answer can follow it: {shorten_problem(problem)}")
        return grammar

    def _prompt(self, request: CreateChatCompletion, required: AnswerConstraints) -> Prompt:
        """Render the conversation. The system message describes functions that the template does not render."""
        tools = self._template_tools(required)
        if tools is not None:
            try:
                return self._rendered(request, required, tools)
            except InvalidRequestError as error:
                if error.code is not None:
                    raise
        return self._rendered(request, required, None)

    def _rendered(
        self, request: CreateChatCompletion, required: AnswerConstraints, tools: list[dict[str, Any]] | None
    ) -> Prompt:
        capabilities = self._template.capabilities
        asked = instructions(request, capabilities, self._reasoning)
        texts = [
            format_text(request.response_format),
            *self._tool_texts(required, native=tools is not None),
            asked.text,
        ]
        self._check_size(len(request.messages), self._max_model_len, "messages")
        turns = normalised_turns(request.messages, capabilities, BLANK_LINE.join(filter(None, texts)))
        size = sum(turn.size for turn in turns) + (0 if tools is None else len(json.dumps(tools)))
        self._check_size(size, self._max_output, "characters")
        kwargs = request.chat_template_kwargs or {}
        self._check_template_kwargs(kwargs)

        def render(texts: Mask, variables: Mask) -> str:
            messages = template_messages(turns, capabilities, texts)
            own = {name: masked(value, variables) for name, value in kwargs.items()}
            if tools is not None:
                own["tools"] = masked(tools, variables)
            return self._template.render(messages, max_output=self._max_output, **{**asked.variables, **own})

        def suffix(ending: str) -> str:
            return self._closing(ending) if asked.closes_reasoning else ""

        return self._encoder.encode(render, suffix, self._check_bytes)

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
        for name in kwargs:
            if name in self._template.variables:
                continue
            reason = "is set by the server" if name in RESERVED else "is not a variable of this model's chat template"
            raise InvalidRequestError(
                f"Invalid value: '{name[:64]}' {reason}.",
                param=f"chat_template_kwargs.{name[:64]}",
                code="invalid_value",
            )

    def _check_size(self, size: int, limit: int, unit: str) -> None:
        """Refuse what cannot fit before any work that grows with it."""
        if size > limit:
            raise InvalidRequestError(
                f"This model's maximum context length is {self._max_model_len} tokens. However, your request has "
                f"{size} {unit}. Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )

    def _check_bytes(self, text: str) -> None:
        """Refuse a prompt that has too many tokens by its length alone: tokenizing takes longer than in proportion."""
        size = len(text.encode())
        if size > self._max_bytes:
            least = -(-size // self._longest_token)
            raise InvalidRequestError(
                f"This model's maximum context length is {self._max_model_len} tokens. However, your messages resulted "
                f"in {size} bytes, which are at least {least} tokens. Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )

    def _check_length(self, length: int) -> None:
        if length == 0:
            raise InvalidRequestError("The messages give an empty prompt with this model.", param="messages")
        if length > self._max_model_len - 1:
            raise InvalidRequestError(
                f"This model's maximum context length is {self._max_model_len} tokens. However, your messages resulted "
                f"in {length} tokens. Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )

    def _prediction_ids(self, prediction: Prediction | None) -> list[int]:
        """Tokenize what the answer is expected to be, as far as an answer can be long.

        Its tokens may be structure: they are drafts, which the model itself must choose before they count.

        Raises InvalidRequestError when the text is longer than any answer.
        """
        if prediction is None:
            return []
        content = prediction.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        size = len(text.encode())
        if size > self._max_bytes:
            raise validation.too_long("prediction.content", "string", self._max_bytes, size)
        return self._encoder.draft(text)[: self._max_model_len]

    def _opens_reasoning(self, ending: str) -> bool:
        return self._reasoning is not None and ending.endswith(self._reasoning.start)

    def _closing(self, ending: str) -> str:
        """Return the text after which the prompt ends with a closed reasoning block."""
        assert self._reasoning is not None
        if self._opens_reasoning(ending):
            return f"\n{self._reasoning.end}\n\n"
        return f"{self._reasoning.start}\n\n{self._reasoning.end}\n\n"


def _written(template: ChatTemplate, chat_format: ChatFormat) -> tuple[str, ...]:
    """Return the texts by which the template and the notations mark something."""
    reasoning = chat_format.reasoning
    markers = (*tool_markers(chat_format.tools), *tool_markers(HERMES))
    return (*template.texts, *markers, *((reasoning.start, reasoning.end) if reasoning else ()))


def _opening(notation: ToolNotation, ending: str) -> str:
    """Return what of the notation the prompt ends with: the beginning of what marks content or a call."""
    starts = [*notation.content_marks[:1], notation.section_start + notation.call_start]
    return max(
        (text[:size] for text in starts for size in range(len(text) + 1) if ending.endswith(text[:size])), key=len
    )


def _tools(required: AnswerConstraints, opening: str) -> AnswerCalls | None:
    calls, use = required.calls, required.use
    tools: dict[str, dict[str, Any] | None] = {}
    if calls is not None and calls.mode != "none":
        tools.update({function.name: function.parameters for function in calls.functions})
        tools.update(dict.fromkeys(custom.name for custom in calls.customs))
    if not tools and not required.notation.content_marks:
        return None
    named, legacy = use is not None and use.named, use is not None and use.legacy
    return AnswerCalls(notation=required.notation, tools=tools, opening=opening, named=named, legacy=legacy)


def _constraining_field(request: CreateChatCompletion) -> str | None:
    """Return the field whose schemas and grammars are compiled first."""
    fields = {"tools": request.tools, "functions": request.functions, "response_format": request.response_format}
    return next((name for name, value in fields.items() if value is not None), None)


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _cache_salt(project: str, prompt_cache_key: str | None) -> str:
    """Return a salt of both; no project holds the separator."""
    return project if not prompt_cache_key else f"{project}\0{prompt_cache_key}"
