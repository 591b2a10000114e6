"""Renders requests inside a process that may be killed: the factory and the handler of its jobs."""

from functools import cache
from typing import Final

import msgspec

from antiphon.chat_formats.builtin import named_format, recognise
from antiphon.constraints.json_schema.validity import is_valid
from antiphon.engine.grammars.grammar_trial import GrammarTrial
from antiphon.engine.models.tokenizer import EngineLoadError, Tokenizer
from antiphon.errors import InvalidRequestError
from antiphon.isolation.fork_server import Handler, JobLimits, RefusedError, ReportStage, limited, when_idle
from antiphon.rendering.render_job import Checked, CheckJob, Job, Outcome, Refused, Rendered, TokenJob
from antiphon.rendering.renderer import Renderer, Trial
from antiphon.rendering.renderer_settings import PROBE_MEMORY, RendererSettings
from antiphon.rendering.token_texts import TextVocabulary, convert_tokens
from antiphon.templates.chat_template import CHATML, ChatTemplate, ChatTemplateError

_JOBS: Final = msgspec.json.Decoder[Job](Job)
_ENCODER: Final = msgspec.json.Encoder()


def open_handler(argument: bytes) -> Handler:
    """Prepare the renderer of the :class:`RendererSettings` in ``argument``, which is JSON.

    Raises ``RefusedError`` for a file that is no model and for a chat template that cannot be used; one that takes too
    long for a few words ends the process.
    """
    settings = msgspec.json.decode(argument, type=RendererSettings)
    try:
        tokenizer = Tokenizer.open(settings.model_path)
        trial = GrammarTrial(tokenizer)
        when_idle(trial.prepare)
        when_idle(tokenizer.read_all_bytes)
        with limited(JobLimits(cpu_seconds=settings.probe_seconds, memory=PROBE_MEMORY)):
            return handler(open_renderer(settings, tokenizer, trial=trial), tokenizer)
    except (EngineLoadError, ChatTemplateError) as error:
        raise RefusedError(str(error)) from error
    except MemoryError as error:
        message = f"The chat template needs more than {PROBE_MEMORY >> 20} MiB to render a few words."
        raise RefusedError(message) from error


def open_renderer(
    settings: RendererSettings, tokenizer: Tokenizer, max_model_len: int = 0, trial: Trial | None = None
) -> Renderer:
    """Return the renderer, without room for any token unless :meth:`Renderer.for_context` gives it some.

    Raises :class:`antiphon.templates.chat_template.ChatTemplateError`.
    """
    source = settings.template or tokenizer.chat_template or CHATML
    template = ChatTemplate(source, tokenizer.bos_token, tokenizer.eos_token)
    name = settings.chat_format
    family = recognise(source) if name is None else named_format(name, source)
    return Renderer(
        tokenizer,
        template,
        family,
        max_model_len,
        trial,
        max_logprobs=settings.max_logprobs,
        strict_schemas=settings.strict_schemas,
    )


def _checked(job: CheckJob) -> Checked:
    found = {is_valid(job.schema, text) for text in job.texts}
    return Checked(False if False in found else None if None in found else True)


def handler(renderer: Renderer, vocabulary: TextVocabulary) -> Handler:
    """Return the handler of one job, which takes a :data:`Job` and returns an :data:`Outcome`, both as JSON."""
    for_context = cache(renderer.for_context)

    def handle(payload: bytes, report_stage: ReportStage) -> bytes:
        job = _JOBS.decode(payload)
        if isinstance(job, CheckJob):
            return _ENCODER.encode(_checked(job))
        try:
            if isinstance(job, TokenJob):
                return _ENCODER.encode(convert_tokens(vocabulary, job))
            rendering = for_context(job.max_model_len).render(job.request, job.request_id, job.cache_salt, report_stage)
            outcome: Outcome = Rendered(rendering)
        except InvalidRequestError as error:
            outcome = Refused(message=error.message, param=error.param, code=error.code)
        return _ENCODER.encode(outcome)

    return handle
