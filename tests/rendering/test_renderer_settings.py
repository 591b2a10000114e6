"""A renderer is made of a model file and what the operator asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.protocol.requests import decode_request
from antiphon.rendering.renderer_settings import RendererSettings, open_renderer
from antiphon.templates.chat_template import ChatTemplateError
from tests.vocabularies import write_vocabulary

REQUEST = decode_request(
    b"""{"model": "m", "messages": [{"role": "user", "content": "to"}],
    "tools": [{"type": "function", "function": {"name": "look"}}], "tool_choice": "required"}"""
)
OWN = "{% for message in messages %}own {{ message.content }}{% endfor %}"


@pytest.fixture
def tokenizer(tmp_path: Path) -> Iterator[Tokenizer]:
    tokenizer = Tokenizer.open(str(write_vocabulary(tmp_path / "vocabulary.gguf", chat_template=OWN)))
    yield tokenizer
    tokenizer.close()


def settings(**fields: str) -> RendererSettings:
    return RendererSettings(model_path="", max_model_len=1024, **fields)


def prompt(tokenizer: Tokenizer, **fields: str) -> str:
    ids = open_renderer(settings(**fields), tokenizer).render(REQUEST, "req", "").generate.prompt_ids
    return b"".join(map(tokenizer.token_bytes, ids)).decode()


def test_the_template_is_the_files_own(tokenizer: Tokenizer) -> None:
    assert prompt(tokenizer).startswith("own ")


def test_a_given_template_takes_the_place_of_the_files_own(tokenizer: Tokenizer) -> None:
    template = "{% for message in messages %}given {{ message.content }}{% endfor %}"
    assert prompt(tokenizer, template=template).startswith("given ")


def test_a_given_family_says_how_calls_are_written(tokenizer: Tokenizer) -> None:
    renderer = open_renderer(settings(chat_format="mistral"), tokenizer)
    assert "[TOOL_CALLS]" in renderer.render(REQUEST, "req", "").generate.grammar


def test_a_template_that_cannot_be_used_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ChatTemplateError):
        open_renderer(settings(template="{% for %}"), tokenizer)
