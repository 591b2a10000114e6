import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.assembly.call_pieces import CallPieces, CallStart, CallText

FIND = CallStart(0, "find", custom=False)
AGAIN = CallStart(1, "find", custom=False)


def passed_on() -> tuple[CallPieces, list[CallStart | CallText]]:
    found: list[CallStart | CallText] = []
    return CallPieces(found.append), found


def test_first_call_is_passed_on_at_once() -> None:
    calls, found = passed_on()
    calls.begin("find")
    assert [FIND] == found
    calls.add('{"a')
    assert [FIND, CallText(0, '{"a')] == found


def test_later_call_is_held_until_it_differs_from_the_earlier_ones() -> None:
    calls, found = passed_on()
    for text in ('{"a": 1}', '{"a": 2}'):
        calls.begin("find")
        calls.add(text)
        calls.complete()
    found.clear()
    calls.begin("find")
    calls.add('{"a')
    calls.add('": 1')
    assert [] == found
    calls.add("0")
    held = [CallStart(2, "find", custom=False), CallText(2, '{"a'), CallText(2, '": 1'), CallText(2, "0")]
    assert held == found
    calls.add("}")
    assert [*held, CallText(2, "}")] == found


def test_call_of_another_name_is_passed_on_at_once() -> None:
    calls, found = passed_on()
    calls.begin("find")
    calls.add("{}")
    calls.complete()
    calls.begin("look")
    assert [FIND, CallText(0, "{}"), CallStart(1, "look", custom=False)] == found


def test_nothing_follows_a_call_that_equals_an_earlier_one() -> None:
    calls, found = passed_on()
    for _ in range(2):
        calls.begin("find")
        calls.add("{}")
        calls.complete()
    assert calls.repeated
    calls.begin("look")
    calls.add("{}")
    calls.complete()
    calls.release()
    assert [FIND, CallText(0, "{}")] == found


def test_unfinished_call_that_begins_as_an_earlier_one_is_released_at_the_end() -> None:
    calls, found = passed_on()
    calls.begin("find")
    calls.add('{"a": 1}')
    calls.complete()
    calls.begin("find")
    calls.add('{"a"')
    calls.release()
    assert ([AGAIN, CallText(1, '{"a"')], False) == (found[2:], calls.repeated)


def test_custom_call_with_the_text_of_a_functions_arguments_is_another_call() -> None:
    calls, found = passed_on()
    calls.begin("find")
    calls.add("{}")
    calls.complete()
    calls.begin("find", custom=True)
    calls.add("{}")
    calls.complete()
    assert ([CallStart(1, "find", custom=True), CallText(1, "{}")], False) == (found[2:], calls.repeated)


def test_unfinished_call_repeats_nothing_and_is_not_repeated() -> None:
    calls, _ = passed_on()
    calls.begin("find")
    calls.add("{}")
    calls.begin("find")
    calls.add("{}")
    calls.complete()
    assert not calls.repeated


arguments = st.dictionaries(st.sampled_from(["a", "ab"]), st.integers(0, 11) | st.sampled_from(["", "x", "xy"]))


@given(st.lists(st.tuples(st.sampled_from(["find", "look"]), arguments), max_size=6), st.integers(1, 5))
def test_every_call_before_the_first_repetition_is_passed_on_whole(
    written: list[tuple[str, dict[str, Any]]], size: int
) -> None:
    calls, found = passed_on()
    texts = [(name, json.dumps(values)) for name, values in written]
    for name, text in texts:
        calls.begin(name)
        for at in range(0, len(text), size):
            calls.add(text[at : at + size])
        calls.complete()
    first = next((at for at, call in enumerate(texts) if call in texts[:at]), len(texts))
    names = [piece.name for piece in found if isinstance(piece, CallStart)]
    pieces = ["".join(p.text for p in found if isinstance(p, CallText) and p.index == at) for at in range(len(names))]
    assert texts[:first] == list(zip(names, pieces, strict=True))
    assert (first < len(texts)) == calls.repeated
