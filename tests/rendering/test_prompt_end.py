"""Every built-in family continues the content or the reasoning of the last message, with tools and without."""

import json
from functools import cache
from typing import Any

import pytest

from antiphon.errors import InvalidRequestError
from antiphon.protocol.messages import AssistantMessage, Message, UserMessage
from antiphon.protocol.requests import CreateChatCompletion, decode_request
from antiphon.rendering.prompt_end import PromptEnd, cut_prompt, marked_turns, prompt_end
from antiphon.rendering.render_job import Rendering
from antiphon.rendering.renderer import Renderer
from antiphon.rendering.segments import text_content
from antiphon.rendering.turns import Turn
from antiphon.templates.chat_template import CHATML, ChatTemplate
from tests.rendering.byte_vocabulary import ByteVocabulary
from tests.rendering.family_templates import FORMAT_NAMES, family_format, family_template, markers
from tests.rendering.grammar_walk import Walker, read

families = pytest.mark.parametrize("family", FORMAT_NAMES)
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
FIND = {"type": "function", "function": {"name": "find", "parameters": NOTHING}}
HI = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "The city "}
THOUGHT = {"role": "assistant", "content": "", "reasoning_content": "Perhaps "}


@cache
def walker(family: str) -> Walker:
    return Walker(markers(family))


def rendering(family: str, last: dict[str, Any] = SAID, **fields: Any) -> Rendering:  # noqa: ANN401 (JSON)
    body = {"model": "m", "messages": [HI, last], "continue_final_message": True, **fields}
    renderer = Renderer(walker(family).vocabulary, family_template(family), family_format(family), 1 << 16)
    return renderer.render(decode_request(json.dumps(body).encode()), "req", "")


def prompt(family: str, last: dict[str, Any] = SAID, **fields: Any) -> str:  # noqa: ANN401 (JSON)
    return walker(family).vocabulary.decode(rendering(family, last, **fields).generate.prompt_ids)


@families
def test_prompt_ends_with_the_content_that_is_continued(family: str) -> None:
    closed = prompt(family, continue_final_message=False, add_generation_prompt=False)
    assert prompt(family).endswith("The city ")
    assert closed.startswith(prompt(family))


@families
def test_prompt_ends_with_the_reasoning_that_is_continued(family: str) -> None:
    reasoning = family_format(family).reasoning
    assert reasoning is not None
    assert prompt(family, THOUGHT).endswith(f"{reasoning.start}Perhaps ")
    assert rendering(family, THOUGHT).reasoning_open


@families
def test_content_after_reasoning_is_continued_without_a_reasoning_block(family: str) -> None:
    result = rendering(family, SAID | {"reasoning_content": "Hm."})
    assert (None, False) == (result.reasoning, result.reasoning_open)
    assert prompt(family, SAID | {"reasoning_content": "Hm."}).endswith("The city ")


@families
def test_required_call_follows_the_continued_content(family: str) -> None:
    result = rendering(family, tools=[FIND], tool_choice="required", parallel_tool_calls=False)
    answer = walker(family).walk(result.generate.grammar)
    assert answer is not None
    assert result.tools is not None
    parsed = read(result.tools.notation, result.tools.tools, answer, opening=result.tools.opening)
    assert ("", [("find", "{}")]) == (parsed.content.strip(), parsed.calls)


@families
def test_continued_content_goes_on_as_text_beside_tools(family: str) -> None:
    result = rendering(family, tools=[FIND])
    assert walker(family).admits(result.generate.grammar, "is Rome.")
    assert result.tools is not None
    notation, tools = result.tools.notation, result.tools.tools
    assert "is Rome." == read(notation, tools, b"is Rome.", opening=result.tools.opening).content


@families
def test_json_follows_the_continued_content(family: str) -> None:
    grammar = rendering(family, response_format={"type": "json_object"}).generate.grammar
    assert walker(family).admits(grammar, "{}")
    assert not walker(family).admits(grammar, "is")


@pytest.mark.parametrize("text", ["<|im_end|>", "a<|im_end|>\n", "\ud7ff<|", "Hi<tool_call>"])
def test_text_that_is_continued_has_no_control_tokens(text: str) -> None:
    vocabulary = ByteVocabulary(user_defined=["<tool_call>"])
    renderer = Renderer(vocabulary, ChatTemplate(CHATML, "", ""), family_format("hermes"), 512)
    messages: list[Message] = [UserMessage(content="Hi"), AssistantMessage(content=text)]
    request = CreateChatCompletion(model="m", messages=messages, continue_final_message=True)
    ids = renderer.render(request, "req", "").generate.prompt_ids
    assert vocabulary.decode(ids).endswith(f"<|im_start|>assistant\n{text}")
    assert ["<|im_start|>", "<|im_end|>", "<|im_start|>"] == vocabulary.control(ids)


def test_prompt_without_a_generation_prompt_ends_after_the_messages() -> None:
    closed = prompt("hermes", HI, continue_final_message=False, add_generation_prompt=False)
    assert f"{closed}<|im_start|>assistant\n" == prompt("hermes", HI, continue_final_message=False)


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ("turn", {}),
        ("turn", {"add_generation_prompt": True}),
        ("nothing", {"add_generation_prompt": False}),
        ("content", {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
def test_end_of_the_prompt_follows_the_request(expected: PromptEnd, fields: dict[str, Any]) -> None:
    messages: list[Message] = [UserMessage(content="Hi"), AssistantMessage(content="Yes", reasoning_content="Hm")]
    assert expected == prompt_end(CreateChatCompletion(model="m", messages=messages, **fields))


def test_template_that_drops_the_text_is_refused_by_name() -> None:
    marked = marked_turns([Turn(role="assistant", content=text_content("Sure"))], "content")
    assert marked[0].content != text_content("Sure")
    with pytest.raises(InvalidRequestError) as caught:
        cut_prompt("Sure, closed", "content")
    assert ("continue_final_message", "invalid_value") == (caught.value.param, caught.value.code)


def test_prompt_is_cut_at_the_last_of_several_marks() -> None:
    assert "SureSure" == cut_prompt("Sure\udc02\udc02Sure\udc02\udc02<end>", "content")
