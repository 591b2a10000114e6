"""The options about the chat template become the settings of a renderer, or an error that names the mistake."""

from pathlib import Path

import pytest

from antiphon.cli.options import TemplateFlags
from antiphon.cli.renderer_options import renderer_settings
from antiphon.console.command_error import CommandError
from antiphon.rendering.renderer_settings import RendererSettings


def test_without_options_the_settings_name_the_model_alone() -> None:
    assert RendererSettings(model_path="m.gguf") == renderer_settings("m.gguf", TemplateFlags())


def test_template_is_the_text_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "template.jinja"
    path.write_text("{{ messages }}", encoding="utf-8")
    flags = TemplateFlags(chat_template=path, chat_format="mistral", max_logprobs=50)
    expected = RendererSettings(model_path="m.gguf", template="{{ messages }}", chat_format="mistral", max_logprobs=50)
    assert expected == renderer_settings("m.gguf", flags)


@pytest.mark.parametrize("content", [b"\xff", None])
def test_template_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "template.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=r"The chat template .* cannot be read"):
        renderer_settings("m.gguf", TemplateFlags(chat_template=path))


def test_unknown_chat_format_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(CommandError, match="There is no chat format mistrl") as caught:
        renderer_settings("m.gguf", TemplateFlags(chat_format="mistrl"))
    assert "mistral" in caught.value.advice


def test_strict_schemas_are_a_setting() -> None:
    settings = renderer_settings("m.gguf", TemplateFlags(strict_schemas="reference"))
    assert "reference" == settings.strict_schemas
