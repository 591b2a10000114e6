"""Messages become a prompt; tests/rendering/test_renderer.py has more, through the renderer of whole requests."""

import json
from typing import Any

from antiphon.chat_formats.chat_format import ChatFormat, ReasoningMarkers
from antiphon.protocol.requests import decode_request
from antiphon.rendering.answer_constraints import answer_constraints
from antiphon.rendering.context_bounds import ContextBounds
from antiphon.rendering.prompt import Prompt
from antiphon.rendering.prompt_renderer import PromptRenderer
from antiphon.templates.chat_template import CHATML, ChatTemplate
from tests.rendering.byte_vocabulary import ByteVocabulary

VOCABULARY = ByteVocabulary()
FAMILY = ChatFormat("hermes", ReasoningMarkers("<think>", "</think>"))
HI = {"role": "user", "content": "Hi"}
BOUNDS = ContextBounds(512, VOCABULARY.longest_token)


def rendered(source: str = CHATML, **fields: Any) -> Prompt:  # noqa: ANN401 (JSON)
    body = {"model": "m", "messages": [HI], **fields}
    request = decode_request(json.dumps(body).encode())
    renderer = PromptRenderer(VOCABULARY, ChatTemplate(source, "", ""), FAMILY)
    return renderer.render(request, answer_constraints(request, FAMILY.tools), BOUNDS)


def text(source: str = CHATML, **fields: Any) -> str:  # noqa: ANN401 (JSON)
    return VOCABULARY.decode(rendered(source, **fields).ids)


def test_prompt_opens_a_turn_of_the_assistant_after_the_messages() -> None:
    assert "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" == text()


def test_draft_may_have_structure() -> None:
    renderer = PromptRenderer(ByteVocabulary((), user_defined=["<tool_call>"]), ChatTemplate(CHATML, "", ""), FAMILY)
    assert [256, ord("a")] == renderer.draft("<tool_call>a")


def test_ending_opens_reasoning_only_with_the_start_marker_at_its_end() -> None:
    renderer = PromptRenderer(VOCABULARY, ChatTemplate(CHATML, "", ""), FAMILY)
    assert renderer.opens_reasoning("assistant\n<think>")
    assert not renderer.opens_reasoning("<think></think>")


def test_template_gets_the_variables_of_chat_template_kwargs() -> None:
    source = "{{ mood }} " + CHATML
    assert text(source, chat_template_kwargs={"mood": "merry"}).startswith("merry <|im_start|>")
