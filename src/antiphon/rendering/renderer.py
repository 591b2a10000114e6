"""From a checked request to what the engine is asked to do: prompt ids, grammar, sampling, token budget."""

import copy
import json
from collections.abc import Callable
from typing import Any, Final, Protocol

from antiphon.chat_formats.answer_calls import AnswerCalls, ContentForm
from antiphon.chat_formats.chat_format import ChatFormat, ToolNotation
from antiphon.constraints.answer_grammar import AnswerShape, answer_grammar
from antiphon.constraints.json_schema import shorten_problem, validate_grammar
from antiphon.constraints.lark import Markers, MarkerVocabulary
from antiphon.engine.interface import GenerateRequest, ServiceTier, TokenSegment
from antiphon.protocol import validation
from antiphon.protocol.reasoning_fields import Reasoning
from antiphon.protocol.rendering_extensions import FORM_FIELDS
from antiphon.protocol.requests import CreateChatCompletion, Prediction
from antiphon.rendering.answer_constraints import AnswerConstraints, answer_constraints
from antiphon.rendering.context_bounds import ContextBounds
from antiphon.rendering.prompt import Vocabulary
from antiphon.rendering.prompt_end import prompt_end
from antiphon.rendering.prompt_renderer import PromptRenderer
from antiphon.rendering.render_job import Rendering
from antiphon.rendering.renderer_settings import REFERENCE_LOGPROBS, StrictSchemas
from antiphon.rendering.sampling_parameters import sampling_params
from antiphon.rendering.sequence_breakers import BreakerVocabulary
from antiphon.templates.chat_template import ChatTemplate

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


class RendererVocabulary(Vocabulary, MarkerVocabulary, BreakerVocabulary, Protocol):
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
        *,
        max_logprobs: int = REFERENCE_LOGPROBS,
        strict_schemas: StrictSchemas = "exact",
    ) -> None:
        """Hold the parts. With a ``trial`` grammars are tried out, which may take long or crash.

        ``max_logprobs``: the alternatives of a token that a request may ask for.
        """
        self._vocabulary = tokenizer
        self._prompts = PromptRenderer(tokenizer, template, chat_format)
        self._reasoning = chat_format.reasoning
        self._notation = chat_format.tools
        self._foreign = chat_format.foreign
        self._markers = Markers(tokenizer)
        self._longest_token = tokenizer.longest_token
        self._trial = trial
        self._max_logprobs = max_logprobs
        self._strict_schemas = strict_schemas
        self._bounds = ContextBounds(max_model_len, self._longest_token)

    def for_context(self, max_model_len: int) -> "Renderer":
        """Return a renderer of the same parts for a context of so many tokens."""
        renderer = copy.copy(self)
        renderer._bounds = ContextBounds(max_model_len, self._longest_token)  # noqa: SLF001 (its own class)
        return renderer

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
        required = answer_constraints(request, self._notation, self._strict_schemas)
        if constraining is not None:
            report_field("messages")
        prompt = self._prompts.render(request, required, self._bounds)
        self._bounds.check_length(len(prompt.ids))
        if request.prediction is not None:
            report_field("prediction")
        prediction_ids = self._prediction_ids(request.prediction)
        if constraining is not None:
            report_field(required.param)
        answer = self._answer(request, required, prompt.ending)
        tier = SERVICE_TIERS[request.service_tier]
        top_logprobs = self._top_logprobs(request)
        return Rendering(
            generate=GenerateRequest(
                request_id=request_id,
                prompt=(TokenSegment(prompt.ids),),
                sampling=sampling_params(
                    request,
                    left=self._bounds.max_model_len - len(prompt.ids),
                    vocabulary=self._vocabulary,
                    top_logprobs=top_logprobs,
                ),
                n=request.n or 1,
                grammar=self._grammar(answer, required),
                prediction_ids=prediction_ids,
                cache_salt=_cache_salt(cache_salt, request.prompt_cache_key, request.cache_salt),
                service_tier=tier,
                priority=request.priority or 0,
                prompt_logprobs=self._within_limit("prompt_logprobs", request.prompt_logprobs),
            ),
            stop=_stop(request.stop),
            includes_stop=request.includes_stop,
            shows_special_tokens=request.shows_special_tokens,
            reasoning=answer.reasoning,
            reasoning_open=answer.reasoning_open,
            tools=_tools(required, answer),
            content=_content_form(required),
            unenforced=required.unenforced,
            top_logprobs=top_logprobs,
            service_tier=tier,
        )

    def _top_logprobs(self, request: CreateChatCompletion) -> int | None:
        """Return the number of alternatives of each token; None without logprobs. Raises InvalidRequestError."""
        asked = self._within_limit("top_logprobs", request.top_logprobs) or 0
        return asked if request.logprobs else None

    def _within_limit(self, field: str, asked: int | None) -> int | None:
        """Return the number of alternatives that a field asks for. Raises InvalidRequestError above the limit."""
        if asked is not None and asked > self._max_logprobs:
            raise validation.out_of_range(field, "integer", "<=", self._max_logprobs, asked)
        return asked

    def _answer(self, request: CreateChatCompletion, required: AnswerConstraints, ending: str) -> AnswerShape:
        end = prompt_end(request)
        if end == "content":
            return AnswerShape(
                schema=required.schema, grammar=required.grammar, calls=required.calls, content_open=True
            )
        budget = self._reasoning_budget(request.reasoning_asked)
        reasoning_open = end == "reasoning" or self._prompts.opens_reasoning(ending)
        return AnswerShape(
            schema=required.schema,
            grammar=required.grammar,
            calls=required.calls,
            foreign=self._foreign and _may_be_foreign(required),
            reasoning=self._reasoning,
            reasoning_open=reasoning_open,
            reasoning_budget=budget,
            opening="" if reasoning_open else _opening(required.notation, ending),
        )

    def _reasoning_budget(self, asked: Reasoning) -> int | None:
        """Return ``thinking_budget``. Raises InvalidRequestError for a model whose end marker cannot be forced."""
        if asked.budget is None:
            return None
        if self._reasoning is None:
            raise validation.invalid_value(asked.budget_field, "this model does not reason.")
        if not self._markers.begins_with_token(self._reasoning.end):
            reason = "this model's vocabulary has no token for the end of reasoning, so it cannot be forced."
            raise validation.invalid_value(asked.budget_field, reason)
        return asked.budget

    def _grammar(self, answer: AnswerShape, required: AnswerConstraints) -> str:
        grammar = answer_grammar(answer, required.notation, self._markers)
        if grammar:
            validate_grammar(grammar, param=required.param)
            problem = "" if self._trial is None else self._trial.problem(grammar)
            if problem:
                raise validation.invalid_value(required.param, f"no answer can follow it: {shorten_problem(problem)}")
        return grammar

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
        if size > self._bounds.max_bytes:
            raise validation.too_long("prediction.content", "string", self._bounds.max_bytes, size)
        return self._prompts.draft(text)[: self._bounds.max_model_len]


def _opening(notation: ToolNotation, ending: str) -> str:
    """Return what of the notation the prompt ends with: the beginning of what marks content or a call."""
    starts = [*notation.content_marks[:1], notation.section_start + notation.call_start]
    return max(
        (text[:size] for text in starts for size in range(len(text) + 1) if ending.endswith(text[:size])), key=len
    )


def _may_be_foreign(required: AnswerConstraints) -> bool:
    """Return whether the content of the answer is text that may begin with calls in foreign notations."""
    calls = required.calls
    if calls is None or calls.mode != "auto" or not calls.functions:
        return False
    return required.schema is None and required.grammar is None and not required.notation.content_marks


def _tools(required: AnswerConstraints, answer: AnswerShape) -> AnswerCalls | None:
    calls, use = required.calls, required.use
    tools: dict[str, dict[str, Any] | None] = {}
    if calls is not None and calls.mode != "none":
        tools.update({function.name: function.parameters for function in calls.functions})
        tools.update(dict.fromkeys(custom.name for custom in calls.customs))
    marks = required.notation.content_marks
    if not tools and not marks:
        return None
    opening = marks[0] if marks and answer.content_open else answer.opening
    named, legacy = use is not None and use.named, use is not None and use.legacy
    return AnswerCalls(
        notation=required.notation,
        tools=tools,
        opening=opening,
        named=named,
        foreign=answer.foreign,
        legacy=legacy,
    )


def _content_form(required: AnswerConstraints) -> ContentForm:
    if required.calls is not None and required.calls.mode == "required":
        return "none"
    return "text" if required.schema is None else "json"


def _constraining_field(request: CreateChatCompletion) -> str | None:
    """Return the field whose schemas and grammars are compiled first."""
    return next((name for name in ("tools", "functions", *FORM_FIELDS) if getattr(request, name) is not None), None)


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _cache_salt(project: str, prompt_cache_key: str | None, salt: str | None) -> str:
    """Return a salt of all three; no project has the separator."""
    if not (prompt_cache_key or salt):
        return project
    return f"{project}\0{json.dumps([prompt_cache_key or '', salt or ''])}"
