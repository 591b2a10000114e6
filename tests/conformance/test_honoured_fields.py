"""Every honoured field of the table has an effect: a request's on the server, an answer's in an answer."""

from collections.abc import Iterator
from typing import Any

import pytest

from antiphon.protocol.field import Side
from antiphon.protocol.fields import fields_of
from tests.conformance.field_flips import FIND, FUNCTION, RUN, Flip, body, flips, tools
from tests.conformance.observations import call, custom, prompt, refusal, sent

FLIPS = flips()
CHECKED = [flip for flip in FLIPS if flip.observe is refusal]
"""The flips of fields that are only checked."""
EVERY_FLIP = pytest.mark.parametrize("flip", FLIPS, ids=lambda flip: flip.path)
ANSWERS: tuple[tuple[dict[str, Any], str], ...] = (
    (body(logprobs=True, top_logprobs=2, return_token_ids=True), "<think>Hm.</think>Hi."),
    (tools(FIND), f"Wait.{call('find', city='Rome')}"),
    (tools(RUN), custom("run", "x")),
    (body(functions=[FUNCTION]), call("find", city="Rome")),
)
"""Requests, each with the text that the model answers."""


def honoured(side: Side) -> list[str]:
    """Give the paths of the fields that the table calls honoured."""
    return [field.path for field in fields_of(side) if field.status == "honoured"]


def differences(one: object, other: object, path: str = "") -> Iterator[str]:
    """Give the paths at which two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            inner = f"{path}.{name}" if path else name
            if name in one and name in other:
                yield from differences(one[name], other[name], inner)
            else:
                yield inner
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for pair in zip(one, other, strict=True):
            yield from differences(*pair, f"{path}[]")
    elif (type(one), one) != (type(other), other):
        yield path


def paths(value: object, path: str = "") -> Iterator[str]:
    """Give the paths of all members of a JSON value."""
    if isinstance(value, list):
        for item in value:
            yield from paths(item, f"{path}[]")
    elif isinstance(value, dict):
        for name, member in value.items():
            inner = f"{path}.{name}" if path else name
            yield inner
            yield from paths(member, inner)


def test_every_honoured_field_of_a_request_has_one_flip() -> None:
    assert sorted(honoured("request")) == sorted(flip.path for flip in FLIPS)


@EVERY_FLIP
def test_the_requests_of_a_flip_differ_in_its_field_alone(flip: Flip) -> None:
    found = list(differences(flip.before, flip.after))
    assert found
    inside = (f"{flip.path}.", f"{flip.path}[")
    assert [] == [path for path in found if path != flip.path and not path.startswith(inside)]


@EVERY_FLIP
def test_a_flip_changes_what_the_server_does(flip: Flip) -> None:
    assert flip.observe(flip.before) != flip.observe(flip.after)


@EVERY_FLIP
def test_an_observation_of_one_request_is_the_same_twice(flip: Flip) -> None:
    assert flip.observe(flip.before) == flip.observe(flip.before)


@pytest.mark.parametrize("flip", CHECKED, ids=lambda flip: flip.path)
def test_one_value_of_a_field_that_is_only_checked_is_accepted(flip: Flip) -> None:
    assert refusal(flip.before) is None


def test_a_prompt_does_not_depend_on_user_and_seed() -> None:
    assert prompt(body(user="ada", seed=1)) == prompt(body(user="bob", seed=2))


def test_the_answers_carry_every_honoured_field_and_no_other() -> None:
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    found = {
        path
        for request, text in ANSWERS
        for fields in ({"prompt_logprobs": 0}, streaming)
        for each in sent(request | fields, says=text)[1]
        for path in paths(each)
    }
    assert set(honoured("response")) == found
