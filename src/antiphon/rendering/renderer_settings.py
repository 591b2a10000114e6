"""The settings of one model's renderer, as a value that can be sent to another process."""

from msgspec import Struct

from antiphon.chat_formats.builtin import named_format, recognise
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.rendering.renderer import Renderer, Trial
from antiphon.templates.chat_template import CHATML, ChatTemplate


class RendererSettings(Struct, frozen=True, kw_only=True):
    """A model and the way in which its conversations are written."""

    model_path: str
    """GGUF file."""
    template: str | None = None
    """Chat template in place of the file's own."""
    chat_format: str | None = None
    """Name of a built-in family; None recognises the family by the template."""
    max_model_len: int


def open_renderer(settings: RendererSettings, tokenizer: Tokenizer, trial: Trial | None = None) -> Renderer:
    """Return the renderer. Raises :class:`antiphon.templates.chat_template.ChatTemplateError`."""
    source = settings.template or tokenizer.chat_template or CHATML
    template = ChatTemplate(source, tokenizer.bos_token, tokenizer.eos_token)
    name = settings.chat_format
    family = recognise(source) if name is None else named_format(name, source)
    return Renderer(tokenizer, template, family, settings.max_model_len, trial)
