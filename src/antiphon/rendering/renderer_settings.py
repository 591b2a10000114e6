"""The settings and the limits of the processes that render for one model."""

from typing import Final, Literal

from msgspec import Struct

from antiphon.isolation.fork_server import ForkServerSettings, JobLimits, settings_for

FACTORY: Final = "antiphon.rendering.render_process:open_handler"
RENDER_SECONDS: Final = 20
"""Seconds of processor time that rendering a request may take; the request is refused when it takes more."""
RENDER_MEMORY: Final = 1 << 30
"""Bytes of memory that rendering a request may take; the request is refused when it takes more."""
RENDER_STACK: Final = 1 << 29
"""Bytes of stack: llama.cpp's regular expressions take about 300 for each character of a run."""
LIMITS: Final = JobLimits(cpu_seconds=RENDER_SECONDS, memory=RENDER_MEMORY, stack=RENDER_STACK)
REFERENCE_LOGPROBS: Final = 20
"""Alternatives of a token at most, unless an operator allows more."""
PROBE_SECONDS: Final = 10
"""Seconds of processor time that the probing of a chat template may take; a model whose template takes more is not
served."""
PROBE_MEMORY: Final = 1 << 30
"""Bytes of memory that the probing of a chat template may take; a model whose template takes more is not served."""

StrictSchemas = Literal["exact", "reference"]
"""The schemas that ``strict: true`` takes: all that are enforced exactly, or only those of the reference's subset."""


class RendererSettings(Struct, frozen=True, kw_only=True):
    """A model, its chat template and the notation of its tool calls."""

    model_path: str
    """GGUF file."""
    template: str | None = None
    """Chat template in place of the file's own."""
    chat_format: str | None = None
    """Name of a built-in family; None detects the family from the template."""
    max_logprobs: int = REFERENCE_LOGPROBS
    """Alternatives of a token that a request may ask for."""
    strict_schemas: StrictSchemas = "exact"
    probe_seconds: int = PROBE_SECONDS
    """Seconds of processor time that the probing of the template may take."""


def fork_server_settings(settings: RendererSettings) -> ForkServerSettings:
    """Return the settings of the fork server of these renderers."""
    return settings_for(FACTORY, settings, LIMITS)
