"""Probing finds what templates support, from templates that differ in one thing each."""

import pytest

from antiphon.templates.capabilities import Capabilities, Switch, ToolHistory
from antiphon.templates.chat_template import CHATML, ChatTemplate


def probed(source: str) -> Capabilities:
    return ChatTemplate(source, "<s>", "</s>").capabilities


def loop(body: str, before: str = "", behind: str = "") -> str:
    return f"{before}{{% for message in messages %}}{body}{{% endfor %}}{behind}"


CONTENT = "{{ message.content }}"
REFUSE = "{{ raise_exception('no') }}"
CALLS = (
    "{% for c in message.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{{ c.id }}{% endfor %}"
)
CONTENT_OR_CALLS = "{{ message.content or '' }}" + CALLS


def test_chatml() -> None:
    found = probed(CHATML)
    assert found.system
    assert found.late_system
    assert found.consecutive
    assert found.assistant_first
    assert found.generation_prompt
    assert not found.typed_content
    assert not found.tools
    assert (frozenset(), None, None, None, None) == (
        found.names,
        found.reasoning_key,
        found.tool_history,
        found.switch,
        found.effort_variable,
    )


def test_a_role_that_is_only_written_out_is_not_known() -> None:
    assert not probed(CHATML).developer
    assert probed(loop("{{ 'D' if message.role == 'developer' }}" + CONTENT)).developer


def test_system_refused_or_dropped() -> None:
    assert not probed(loop("{% if message.role == 'system' %}" + REFUSE + "{% endif %}" + CONTENT)).system
    assert not probed(loop("{% if message.role != 'system' %}" + CONTENT + "{% endif %}")).system


def test_system_only_at_the_beginning() -> None:
    late = "{% if message.role == 'system' and not loop.first %}" + REFUSE + "{% endif %}"
    found = probed(loop(late + CONTENT))
    assert (True, False) == (found.system, found.late_system)


def test_system_that_is_lost_in_a_longer_conversation_counts_as_none() -> None:
    lost = "{% if message.role != 'system' or messages | length < 3 %}" + CONTENT + "{% endif %}"
    assert not probed(loop(lost)).system


def test_typed_content() -> None:
    assert probed(loop("{% for part in message.content %}{{ part.text }}{% endfor %}")).typed_content


def test_roles_that_must_alternate() -> None:
    wrong = "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}" + REFUSE + "{% endif %}"
    found = probed(loop(wrong + CONTENT))
    assert (False, False) == (found.consecutive, found.assistant_first)


def test_a_generation_prompt_must_come_behind_an_assistant_too() -> None:
    assert not probed(loop(CONTENT)).generation_prompt
    unless = "{% if add_generation_prompt and messages[-1].role != 'assistant' %}A:{% endif %}"
    assert not probed(loop(CONTENT, behind=unless)).generation_prompt
    assert probed(loop(CONTENT, behind="{% if add_generation_prompt %}A:{% endif %}")).generation_prompt


def test_names() -> None:
    named = "{% if message.role == 'user' %}{{ message.name }}{% endif %}"
    assert frozenset({"user"}) == probed(loop(named + CONTENT)).names
    of_tools = "{% if message.role == 'tool' %}{{ message.name }}{% endif %}"
    assert frozenset({"tool"}) == probed(loop(of_tools + CONTENT_OR_CALLS)).names


def test_reasoning_key() -> None:
    assert "reasoning_content" == probed(loop("{{ message.reasoning_content }}" + CONTENT)).reasoning_key
    assert "reasoning" == probed(loop("{{ message.reasoning }}" + CONTENT)).reasoning_key


def test_reasoning_kept_in_tool_exchanges_only() -> None:
    kept = "{% if message.tool_calls %}{{ message.reasoning_content }}{% endif %}"
    assert "reasoning_content" == probed(loop(kept + CONTENT_OR_CALLS)).reasoning_key


def test_tools() -> None:
    assert probed(loop(CONTENT, before="{% if tools %}{{ tools | tojson }}{% endif %}")).tools


@pytest.mark.parametrize(
    ("expected", "body"),
    [
        (ToolHistory(content="null", arguments="object", short_ids=False, parallel=True), CONTENT_OR_CALLS),
        (
            ToolHistory(content="empty", arguments="object", short_ids=False, parallel=True),
            "{{ message.content + '' }}" + CALLS,
        ),
        (
            ToolHistory(content="absent", arguments="object", short_ids=False, parallel=True, text=False),
            "{% if 'content' in message %}{{ message.content + '' if not message.tool_calls else nothing + 1 }}"
            "{% endif %}" + CALLS,
        ),
        (
            ToolHistory(content="null", arguments="text", short_ids=False, parallel=True),
            CONTENT_OR_CALLS.replace(".arguments | tojson", ".arguments"),
        ),
        (
            ToolHistory(content="null", arguments="object", short_ids=True, parallel=True),
            "{% for c in message.tool_calls %}{% if c.id | length != 9 %}" + REFUSE + "{% endif %}{% endfor %}"
            + CONTENT_OR_CALLS,
        ),
        (
            ToolHistory(content="null", arguments="object", short_ids=False, parallel=False),
            CONTENT_OR_CALLS.replace("in message.tool_calls", "in (message.tool_calls or [])[:1]"),
        ),
        (None, CONTENT),
        (None, "{% if message.role != 'tool' %}" + CONTENT_OR_CALLS + "{% endif %}"),
    ],
)  # fmt: skip
def test_tool_history(expected: ToolHistory | None, body: str) -> None:
    assert expected == probed(loop(body)).tool_history


def test_text_that_is_lost_beside_calls() -> None:
    found = probed(loop("{{ '' if message.tool_calls else message.content }}" + CALLS)).tool_history
    assert found is not None
    assert (True, False) == (found.parallel, found.text)


AFTER_RESULTS = (
    "{% if message.role == 'user' and not loop.first and loop.previtem.role == 'tool' %}" + REFUSE + "{% endif %}"
)
EMPTY = "{% if message.role == 'assistant' and not (message.content or message.tool_calls) %}" + REFUSE + "{% endif %}"


@pytest.mark.parametrize(
    ("expected", "refused"), [(None, ""), (None, EMPTY), ("", AFTER_RESULTS), ("OK.", AFTER_RESULTS + EMPTY)]
)
def test_an_assistant_message_that_a_user_message_after_results_needs(expected: str | None, refused: str) -> None:
    found = probed(loop(refused + CONTENT_OR_CALLS)).tool_history
    assert found is not None
    assert expected == found.acknowledgement


def test_switches() -> None:
    behind = "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    assert Switch("enable_thinking", on=True, off=False) == probed(loop(CONTENT, behind=behind)).switch
    behind = "{% if thinking_mode is defined %}{{ thinking_mode }}{% endif %}"
    assert Switch("thinking_mode", on="enabled", off="disabled") == probed(loop(CONTENT, behind=behind)).switch
    assert probed(loop(CONTENT, behind="{% if thinking %}{% endif %}")).switch is None


def test_efforts_that_a_template_takes() -> None:
    checked = (
        "{% set effort = reasoning_effort | default('no_think') %}"
        "{% if effort not in ['no_think', 'low', 'high'] %}" + REFUSE + "{% endif %}{{ effort }}"
    )
    found = probed(loop(CONTENT, before=checked))
    assert "reasoning_effort" == found.effort_variable
    assert {"none": "no_think", "low": "low", "high": "high"} == found.efforts


def test_an_effort_of_none_that_means_the_default_is_the_least_there_is() -> None:
    behind = "{% if reasoning_effort in ['low', 'minimal'] %}<think></think>{% endif %}"
    assert "minimal" == probed(loop(CONTENT, behind=behind)).efforts["none"]


def test_efforts_behind_a_switch() -> None:
    behind = "{% if enable_thinking %}{{ reasoning_effort | default('high') }}{% endif %}"
    found = probed(loop(CONTENT, behind=behind))
    assert "reasoning_effort" == found.effort_variable
    assert found.switch == Switch("enable_thinking", on=True, off=False)


def test_verbosity() -> None:
    assert probed(loop(CONTENT, behind="{{ verbosity }}")).verbosity
    assert not probed(loop(CONTENT, behind="{{ verbosity and '' }}")).verbosity
