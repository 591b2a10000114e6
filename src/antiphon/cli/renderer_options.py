"""Turns the options about the chat template into the settings of a model's renderer."""

from pathlib import Path

from antiphon.chat_formats.builtin import FORMAT_NAMES
from antiphon.cli.options import TemplateFlags
from antiphon.console.command_error import CommandError
from antiphon.rendering.renderer_settings import RendererSettings


def renderer_settings(model_path: str, flags: TemplateFlags) -> RendererSettings:
    """Return the settings; a template is read from its file. Raises :class:`CommandError`."""
    if flags.chat_format is not None and flags.chat_format not in FORMAT_NAMES:
        raise CommandError(f"There is no chat format {flags.chat_format}.", f"Known: {', '.join(FORMAT_NAMES)}")
    template = None if flags.chat_template is None else _read_template(flags.chat_template)
    return RendererSettings(
        model_path=model_path,
        template=template,
        chat_format=flags.chat_format,
        max_logprobs=flags.max_logprobs,
        strict_schemas=flags.strict_schemas,
    )


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The chat template {path} cannot be read: {error}.") from error
