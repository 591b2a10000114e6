"""Turns as templates read them; test_turns.py has the rules of each feature."""

import json
from typing import Any

from msgspec import convert

from antiphon.protocol.messages import Message
from antiphon.rendering.template_messages import template_messages
from antiphon.rendering.turns import normalised_turns
from tests.rendering.test_turns import ANSWER, CALLING, FULL, RESULTS, USER


def test_mask_is_applied_to_every_text_of_the_user_and_nothing_else() -> None:
    messages = [{**USER, "name": "bob"}, CALLING, *RESULTS, {**ANSWER, "reasoning_content": "Hm"}]
    turns = normalised_turns(convert(messages, list[Message]), FULL)
    text = json.dumps(template_messages(turns, FULL, lambda text: f"«{text}»"), ensure_ascii=False)
    for word in ("U", "bob", "call_1", "call_2", "f", "g", "x", "input", "in", "R1", "R2", "A", "Hm"):
        assert f'"«{word}»"' in text
    for word in ("user", "assistant", "tool", "function"):
        assert f"«{word}»" not in text


def test_calls_are_rendered_with_arguments_as_an_object() -> None:
    messages: list[dict[str, Any]] = [USER, CALLING, *RESULTS]
    turns = normalised_turns(convert(messages, list[Message]), FULL)
    calling = next(message for message in template_messages(turns, FULL, str.upper) if "tool_calls" in message)
    assert {"name": "F", "arguments": {"X": 1}} == calling["tool_calls"][0]["function"]
