"""The size of the shortest text of a grammar's rules, in literals."""

import pytest

from antiphon.constraints.grammar_size import MAX_LEAST_SIZE, least_size, sum_of_multiples


def doubling(levels: int, leaf: str = '"x"') -> str:
    rules = [f"r{level}: r{level + 1} r{level + 1}" for level in range(levels)]
    return "\n".join([*rules, f"r{levels}: {leaf}"])


@pytest.mark.parametrize(
    ("expected", "grammar"),
    [
        (0, ""),
        (1, 'start: "a"'),
        (2, 'start: "a" /b+/'),
        (2, 'start: "a" "b" | "c"'),
        (2, 'start: "a" ("b" "c")? ["d"] "e"*'),
        (2, 'start: "a" ("b" | "c" "d")+'),
        (6, 'start: ("a" "b"){3,5}'),
        (4, 'start: "a"~4..9'),
        (0, 'start: "a"{0,3} ""'),
        (0, 'start: "a"{,3}'),
        (4, "start: a b\n  | a a a a\na: NUMBER\n%import common.NUMBER\nb: a a // a a a a\n"),
        (1, 'start: "a".."z" -> letter'),
        (2, 'start: "(" | start start'),
        (0, "start: start"),
        (1, 'start.2: "a" # "b" "c"'),
        (8, doubling(3)),
        (1, 'start: "(((" // unbalanced )))'),
        (3, 'start: ["a"] ("b" | "c") "d"{2}'),
        (3, 'start: ["a" "b" "c"] "d"'),
        (2, 'start: ("a" "b" | "c")? "d"'),
        (4, 'start: (("a") "b"){2}'),
        (1, 'start: "a"+'),
        (0, 'start: "a"~0..3'),
        (2, 'start: "a"{2,}'),
        (1, 'start: "" "a"'),
        (3, 'start: "a" | "b" "c" "d"'),
        (2, 'start: a\na: "x" a | "y"'),
        (1, 'start: "a" | b\nb: "x" b'),
        (0, 'start: "a" b{3}\nb: "x" b'),
        (0, 'start: b{0}\nb: "x" b'),
        (1, 'start: "a" b{0}\nb: "x" b'),
        (4, 'start: (b | "a" "a"){2}\nb: "x" b'),
        (1, 'start: "a")'),
        (2, 'start: "a") "b"'),
        (1, 'start: {2} "a"'),
        (1, 'start: "a" | {3}'),
        (MAX_LEAST_SIZE, f'start: "a"{{{MAX_LEAST_SIZE}}}'),
        (MAX_LEAST_SIZE + 1, f'start: "a"{{{MAX_LEAST_SIZE + 1}}}'),
        (MAX_LEAST_SIZE + 1, f'start: "a"{{{10**50}}}'),
    ],
)
def test_least_size_counts_the_shortest_text_of_an_alternative(expected: int, grammar: str) -> None:
    assert expected == least_size(grammar)


@pytest.mark.parametrize(
    "grammar",
    [
        doubling(40),
        'start: "a" | r0\n' + doubling(40),
        'start: "a" r0?\n' + doubling(40),
        'start: "a" | r0\n' + doubling(40, "/x+/"),
        'start: "a" | b{99} "c"\nb: ("b" "b"){99}',
    ],
)
def test_size_beyond_the_limit_is_above_it(grammar: str) -> None:
    assert least_size(grammar) > MAX_LEAST_SIZE


def test_order_of_rules_does_not_matter() -> None:
    rules = doubling(5).split("\n")
    assert 32 == least_size("\n".join(rules[::-1])) == least_size("\n".join(rules[::2] + rules[1::2]))


def test_unbalanced_brackets_are_left_to_the_compiler() -> None:
    assert 0 <= least_size("start: " + "(" * 20_000 + ")))]]" + '"a"') <= 1


@pytest.mark.parametrize(
    ("expected", "grammar"),
    [
        (0, 'start: "a"'),
        (7, 'start: %json {"type":"integer","multipleOf":7}'),
        (32, 'a: %json {"multipleOf":7}\nb: %json {"anyOf":[{"multipleOf":0.25}]}'),
        (1, 'start: %json {"type":"number","multipleOf":1e-05}'),
        (0, r'start: %json {"enum":["\"multipleOf\":7"]}'),
        (0, 'start: %json {"properties":{"multipleOf":{"type":"null"}}}'),
    ],
)
def test_multiples_of_a_grammar_are_added_up(expected: int, grammar: str) -> None:
    assert expected == sum_of_multiples(grammar)


@pytest.mark.parametrize("backwards", [False, True])
def test_long_chain_of_rules_is_sized_in_either_direction(backwards: bool) -> None:  # noqa: FBT001
    rules = [*(f"r{number}: r{number + 1}" for number in range(100)), 'r100: "x" "y"']
    assert 2 == least_size("\n".join(reversed(rules) if backwards else rules))


def test_optional_group_is_sized_too() -> None:
    assert least_size(f'start: ["a"{{{MAX_LEAST_SIZE}}} "b"]') > MAX_LEAST_SIZE
