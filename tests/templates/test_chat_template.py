"""Templates run as Hugging Face runs them, in Jinja's sandbox."""

import json
import time

import pytest

from antiphon.errors import InvalidRequestError
from antiphon.templates.chat_template import CHATML, MAX_MESSAGE, MAX_SOURCE, ChatTemplate, ChatTemplateError, to_json

USER = [{"role": "user", "content": "Hi"}]
ECHO = "{% for message in messages %}{{ message.content }}{% endfor %}"


def rendered(source: str) -> str:
    """Return what ``source`` gives in front of the messages."""
    return ChatTemplate(source + ECHO, "<s>", "</s>").render(USER).removesuffix("Hi")


def test_the_fallback_is_chatml() -> None:
    template = ChatTemplate(CHATML, "", "")
    assert "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" == template.render(USER)
    assert "<|im_start|>user\nHi<|im_end|>\n" == template.render(USER, add_generation_prompt=False)


def test_bos_and_eos_are_variables() -> None:
    assert "<s></s>" == rendered("{{ bos_token }}{{ eos_token }}")


def test_blocks_are_trimmed_and_stripped() -> None:
    assert "a\nb\nc" == rendered("a\n    {% if true %}\nb\n    {% endif %}\nc")


def test_loop_controls() -> None:
    assert "023" == rendered(
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% if i == 3 %}{% break %}"
        "{% endif %}{% endfor %}"
    )


def test_the_body_of_a_generation_block_is_rendered() -> None:
    assert "said1" == rendered("{% generation %}{% set x = 1 %}said{% endgeneration %}{{ x }}")


def test_tojson_is_hugging_faces() -> None:
    value = {"b": "<é>", "a": 1}
    source = "{% set v = {'b': '<é>', 'a': 1} %}"
    assert '{"b": "<é>", "a": 1}' == rendered(source + "{{ v | tojson }}")
    assert rendered(source + "{{ v | tojson(indent=2) }}") == json.dumps(value, ensure_ascii=False, indent=2)
    compact = rendered(source + "{{ v | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}")
    assert '{"a":1,"b":"<\\u00e9>"}' == compact


def test_tojson_leaves_masks_alone() -> None:
    assert '"\ud800\\u00e9"' == to_json("\ud800é", ensure_ascii=True)
    assert to_json("😀", ensure_ascii=True) == json.dumps("😀")


def test_the_clock_is_an_argument() -> None:
    noon = time.mktime((2024, 7, 26, 12, 0, 0, 0, 0, -1))
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}" + ECHO, "", "", clock=lambda: noon)
    assert "26 Jul 2024Hi" == template.render(USER)


def test_tools_are_none_unless_the_template_needs_a_list() -> None:
    assert "True" == rendered("{{ tools is none }}")
    assert "[]" == rendered("{% for tool in tools %}{{ tool }}{% endfor %}{{ tools | tojson }}")


def test_a_refusal_of_the_template_is_the_clients_error() -> None:
    template = ChatTemplate(
        "{% if messages | length > 8 %}{{ raise_exception('Too many.') }}{% endif %}" + ECHO, "", ""
    )
    with pytest.raises(InvalidRequestError) as caught:
        template.render(USER * 9)
    assert "The model's chat template refuses the messages: Too many." == caught.value.message
    assert "messages" == caught.value.param


def test_any_other_error_of_the_template_is_too() -> None:
    template = ChatTemplate("{{ 'to ' + messages[0].to if messages[0].to is defined }}" + ECHO, "", "")
    with pytest.raises(InvalidRequestError) as caught:
        template.render([{**USER[0], "to": None}])
    assert "TypeError" in caught.value.message
    assert "messages" == caught.value.param


def test_messages_of_templates_are_bounded() -> None:
    template = ChatTemplate("{% if messages[0].long %}{{ raise_exception('x' * 9999) }}{% endif %}" + ECHO, "", "")
    with pytest.raises(InvalidRequestError) as caught:
        template.render([{**USER[0], "long": True}])
    assert len(caught.value.message) == MAX_MESSAGE


@pytest.mark.parametrize(
    "hostile",
    [
        "messages.__class__.__mro__",
        "messages.append(1)",
        "range(100001) | list",
        "''.__class__.__base__.__subclasses__()",
    ],
)
def test_hostile_expressions_fail_or_give_nothing(hostile: str) -> None:
    template = ChatTemplate("{% if messages[0].go %}{{ " + hostile + " }}{% endif %}" + ECHO, "", "")
    try:
        text = template.render([{**USER[0], "go": True}])
    except InvalidRequestError:
        text = "Hi"
    assert "Hi" == text


def test_ordinary_arithmetic_goes_on() -> None:
    assert "abab683[1, 1]" == rendered("{{ 'ab' * 2 }}{{ 2 * 3 }}{{ 2 ** 3 }}{{ 7 % 4 }}{{ [1] * 2 }}")


def test_a_template_without_memory_is_no_error_of_the_conversation() -> None:
    template = ChatTemplate("{% if messages[0].go %}{{ 'a' * messages[0].go }}{% endif %}" + ECHO, "", "")
    with pytest.raises(MemoryError):
        template.render([{**USER[0], "go": 1 << 62}])


@pytest.mark.parametrize(
    "source",
    ["{% if x %}{% endif %}" * 5001, "{{ " + "(" * 999 + ")" * 999 + " }}", "{% if a %}" * 200 + "{% endif %}" * 200],
    ids=["large", "deep", "nested"],
)
def test_a_template_that_cannot_be_compiled_is_not_usable(source: str) -> None:
    with pytest.raises(ChatTemplateError, match="not valid"):
        ChatTemplate(source + ECHO, "", "")


def test_the_output_is_bounded() -> None:
    template = ChatTemplate(ECHO, "", "")
    assert "Hi" == template.render(USER, max_output=2)
    with pytest.raises(InvalidRequestError) as caught:
        template.render(USER * 2, max_output=3)
    assert "context_length_exceeded" == caught.value.code


def test_a_template_must_be_usable() -> None:
    with pytest.raises(ChatTemplateError, match="not valid"):
        ChatTemplate("{% for %}", "", "")
    with pytest.raises(ChatTemplateError, match="characters"):
        ChatTemplate("x" * (MAX_SOURCE + 1), "", "")
    with pytest.raises(ChatTemplateError, match="'needed' is undefined"):
        ChatTemplate("{{ needed + 1 }}" + ECHO, "", "")
    with pytest.raises(ChatTemplateError, match="does not render"):
        ChatTemplate("nothing", "", "")


def test_variables_are_those_a_request_may_set() -> None:
    source = "{{ bos_token }}{{ strftime_now('') }}{% set a = 1 %}{{ a }}{{ documents }}{{ mood }}{{ tools }}"
    assert {"documents", "mood"} == ChatTemplate(source + ECHO, "", "").variables


def test_what_a_template_writes_of_its_own() -> None:
    source = "<s>{# no #}{% for m in messages %}{{ '<|' + m['role'] ~ \"|>\" }}{{ m.content }}</s>{% endfor %}"
    assert {"<s>", "</s>", "<|", "|>"} <= {*ChatTemplate(source, "", "").texts}
    assert " no " not in ChatTemplate(source, "", "").texts


FUNCTIONS = "{{ 'Tools: ' + functions + ' at ' + datetime }}" + ECHO


def test_a_template_that_needs_functions_gets_the_tools_as_json_and_the_time() -> None:
    template = ChatTemplate(FUNCTIONS, "", "", clock=lambda: 0.0)
    assert template.capabilities.tools
    assert "Tools:  at Jan 01 1970 00:00:00 GMTHi" == template.render(USER)
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert f"Tools: {json.dumps(tools, indent=2)} at Jan 01 1970 00:00:00 GMTHi" == template.render(USER, tools=tools)


def test_a_request_may_set_the_functions_itself() -> None:
    template = ChatTemplate(FUNCTIONS, "", "", clock=lambda: 0.0)
    assert {"functions", "datetime"} == template.variables
    assert "Tools: [] at noonHi" == template.render(USER, functions="[]", datetime="noon")


def test_a_template_that_can_do_without_functions_gets_none() -> None:
    assert "Hi" == ChatTemplate("{% if functions %}{{ functions[0].name }}{% endif %}" + ECHO, "", "").render(USER)
