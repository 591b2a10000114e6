"""Instructions are added to the system text that a template writes by itself."""

from typing import Any

import pytest

from antiphon.rendering.default_system import Message, default_system, with_default_system
from antiphon.templates.chat_template import CHATML, ChatTemplate

OWN = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Robin.<|im_end|>\n{% endif %}" + CHATML
DATED = "{% if messages[0].role != 'system' %}<|im_start|>system\nDay {{ day }}.<|im_end|>\n{% endif %}" + CHATML
BESIDE = "<|im_start|>system\nYou are Robin.<|im_end|>\n" + CHATML
JOINED = "Robin: {{ messages[0].content if messages[0].role == 'system' }}\n{{ messages[-1].content }}"
WITHIN_USER = (
    "{% set first = messages[0].content ~ ' ' if messages[0].role == 'system' else '' %}"
    "[INST] {{ first }}{{ messages[-1].content }} [/INST]"
)
NO_SYSTEM = "Robin says: {% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
TYPED = (
    "{% if messages[0].role != 'system' %}system\nYou are Robin.\n{% endif %}"
    "{% for m in messages %}{{ m.role }}\n{% for part in m.content %}{{ part.text }}{% endfor %}\n{% endfor %}"
)
ADDED: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def default(source: str, **variables: Any) -> str:  # noqa: ANN401 (template variables)
    template = ChatTemplate(source, "", "")
    return default_system(template.capabilities, lambda messages: template.render(messages, **variables))


def test_text_that_a_system_message_replaces_is_found() -> None:
    assert "You are Robin." == default(OWN)
    assert "You are Robin." == default(TYPED)


def test_text_has_no_whitespace_around_it() -> None:
    assert "You are Robin." == default(OWN.replace("Robin.", "Robin.\n\n"))


def test_text_is_that_of_the_variables_of_the_request() -> None:
    assert "Day 3." == default(DATED, day=3)


@pytest.mark.parametrize("source", [CHATML, BESIDE, JOINED, WITHIN_USER, NO_SYSTEM])
def test_template_without_text_or_whose_text_stays_has_none_to_add(source: str) -> None:
    assert "" == default(source)


def test_text_is_unknown_where_the_template_refuses_the_conversation() -> None:
    source = OWN + "{% if strict %}{{ raise_exception('no') }}{% endif %}"
    assert "" == default(source, strict=True)


def test_text_stands_in_the_system_message_before_the_instructions() -> None:
    template = ChatTemplate(OWN, "", "")
    messages = with_default_system(ADDED, template.capabilities, template.render)
    assert [{"role": "system", "content": "You are Robin.\n\nBe brief."}, ADDED[1]] == messages


def test_text_is_a_part_before_the_instructions_where_content_has_parts() -> None:
    template = ChatTemplate(TYPED, "", "")
    added = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in ADDED]
    first = with_default_system(added, template.capabilities, template.render)[0]
    assert ["You are Robin.\n\n", "Be brief."] == [part["text"] for part in first["content"]]


def test_messages_stay_where_the_template_has_no_text() -> None:
    template = ChatTemplate(CHATML, "", "")
    assert ADDED == with_default_system(ADDED, template.capabilities, template.render)
