"""Number schemas that llguidance reads exactly."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.constraints.json_schema.numbers import exact, number_schema
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Number
from antiphon.errors import InvalidRequestError
from tests.constraints.json_schema.random_schemas import admits_text, is_valid

EDGES: tuple[str, ...] = (
    "0",
    "1",
    "-1",
    "0.5",
    "-0.5",
    "0.1",
    "0.99",
    "-0.001",
    "9.99",
    "10",
    "-100",
    "123.456",
    "1e-7",
    "0.9999999999999999",
)
EDGES += ("0.30000000000000004", "1e-25", "9007199254740993", "9223372036854775807", "-9223372036854775808", "1.7e308")
STEPS = ("1", "2", "7", "0.5", "0.1", "0.01", "0.07", "1000")
NEAR = ("0", "1", "-1", "0.1", "-0.1", "0.001", "-0.001", "0.00000000000000000001")

limits = st.dictionaries(
    st.sampled_from(("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")), st.sampled_from(EDGES), max_size=3
)
steps = st.dictionaries(st.just("multipleOf"), st.sampled_from(STEPS), max_size=1)
values = st.tuples(st.sampled_from(EDGES), st.sampled_from(NEAR)).map(lambda pair: Decimal(pair[0]) + Decimal(pair[1]))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(("integer", "number")), limits, steps, st.lists(values, min_size=10, max_size=10))
def test_no_number_out_of_bounds_is_admitted(kind: str, bounds: Any, step: Any, near: list[Decimal]) -> None:  # noqa: ANN401
    schema = {"type": kind, **{key: json.loads(text) for key, text in {**bounds, **step}.items()}}
    try:
        compiled = compile_schema(schema, strict=False, param="p")
    except InvalidRequestError:
        return
    for text in (format(value, "f") for value in near):
        assert is_valid(schema, text) or not admits_text(compiled, text)


@settings(deadline=None, max_examples=60)
@given(st.integers(-300, 300), st.integers(0, 2), st.integers(-300, 300), st.integers(0, 300))
def test_every_number_within_bounds_can_be_written(number: int, digits: int, low: int, width: int) -> None:
    schema = {"type": "number", "minimum": low / 100, "maximum": (low + width) / 100}
    text = str(Decimal(number).scaleb(-digits))
    shortest = text.rstrip("0").removesuffix(".") if "." in text else text
    assert is_valid(schema, text) == any(
        admits_text(compile_schema(schema, strict=False, param="p"), numeral)
        for numeral in (shortest, text, text + (".0" if "." not in text else "0"), text + "00")
    )


def test_only_number_within_bounds_is_written_in_its_shortest_form() -> None:
    compiled = compile_schema({"type": "number", "minimum": 0.0, "maximum": 0.0}, strict=False, param="p")
    assert [True, False] == [admits_text(compiled, text) for text in ("0", "0.0")]


@pytest.mark.parametrize(
    ("expected", "shape"),
    [
        ({"const": 1}, Number(lower=(Fraction(1), False), upper=(Fraction(1), False))),
        (
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            Number(lower=(Fraction(0), True), upper=(Fraction(1), False)),
        ),
        (
            {"type": "number", "minimum": 1e-22, "maximum": 0.5},
            Number(lower=(Fraction(0), True), upper=(Fraction(1, 2), False)),
        ),
        (
            {"type": "number", "minimum": -0.5, "maximum": -1e-22},
            Number(lower=(Fraction(-1, 2), False), upper=(Fraction(0), True)),
        ),
        ({"type": "integer", "maximum": 2**63 - 1024}, Number(integer=True, upper=(Fraction(2**64), False))),
        ({"type": "integer", "multipleOf": 3}, Number(integer=True, multiple_of=Fraction(3))),
        (
            {"type": "integer", "multipleOf": 3, "minimum": 1},
            Number(integer=True, multiple_of=Fraction(3), lower=(Fraction(3), False)),
        ),
        (
            {"type": "integer", "multipleOf": 3, "minimum": -6, "maximum": -1},
            Number(
                integer=True,
                multiple_of=Fraction(3),
                lower=(Fraction(-6), False),
                upper=(Fraction(-3), False),
            ),
        ),
    ],
)
def test_number_schema_has_the_expected_keywords(expected: dict[str, Any], shape: Number) -> None:
    assert expected == number_schema(shape)


@pytest.mark.parametrize(
    "shape",
    [
        Number(lower=(Fraction(10) ** 18, False)),
        Number(lower=(Fraction(10**17 + 1), False), upper=(Fraction(10**17 + 1), False)),
        Number(multiple_of=Fraction("0.12345678901")),
        Number(lower=(Fraction(1, 10**30), False), upper=(Fraction(2, 10**30), False)),
    ],
)
def test_numbers_beyond_doubles_are_refused(shape: Number) -> None:
    with pytest.raises(SchemaRefusedError):
        number_schema(shape)


def test_exact_returns_the_number_of_the_json_text() -> None:
    assert Fraction(1, 10) == exact(0.1)
    assert Fraction(2**70) == exact(2**70)


def bound(text: str) -> tuple[Fraction, bool] | None:
    """Return the bound that ``text`` spells: ``"1"`` or, excluded, ``"1!"``."""
    return (Fraction(text.rstrip("!")), text.endswith("!")) if text else None


def between(low: str = "", high: str = "") -> dict[str, Any]:
    return number_schema(Number(lower=bound(low), upper=bound(high)))


@pytest.mark.parametrize(
    ("low", "high", "minimum", "maximum"),
    [
        ("1!", "1.5", 1.00000000000001, 1.5),
        ("100!", "100.5", 100.000000000001, 100.5),
        ("-1.5", "-1!", -1.5, -1.00000000000001),
        ("-100.5", "-100!", -100.5, -100.000000000001),
    ],
)
def test_excluded_integer_bound_moves_inwards_beside_a_bound_of_the_same_integer_part(
    low: str, high: str, minimum: float, maximum: float
) -> None:
    assert {"type": "number", "minimum": minimum, "maximum": maximum} == between(low, high)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("1!", "2"),
        ("1!", "2.5"),
        ("0.5!", "0.7"),
        ("-1!", "-0.5"),
        ("-2", "-1!"),
        ("-2.5", "-1!"),
        ("0.5", "1!"),
        ("-0.7", "-0.5!"),
        ("1", "1.5"),
        ("-1.5", "-1"),
        ("1!", "5!"),
    ],
)
def test_other_bounds_stay_as_they_are(low: str, high: str) -> None:
    names = ("exclusiveMinimum" if "!" in low else "minimum", "exclusiveMaximum" if "!" in high else "maximum")
    values = (float(text.rstrip("!")) for text in (low, high))
    assert {"type": "number", **dict(zip(names, values, strict=True))} == between(low, high)


@pytest.mark.parametrize(
    ("text", "minimum", "maximum"),
    [
        ("123.4567890123456789", 123.45678901235, 123.45678901234),
        ("-123.4567890123456789", -123.45678901234, -123.45678901235),
        ("0.000012345678901234567", 1.2345678901235e-05, 1.2345678901234e-05),
        ("5e-324", 1e-22, 0),
        ("99999999999999.55", 100000000000000, 99999999999999),
        ("9007199254740993", 9007199254740994, 9007199254740992),
        ("9007199254740993!", 9007199254740994, 9007199254740992),
        ("-9007199254740993", -9007199254740992, -9007199254740994),
    ],
)
def test_bound_that_is_not_read_exactly_moves_inwards(text: str, minimum: float, maximum: float) -> None:
    assert [{"type": "number", "minimum": minimum}, {"type": "number", "maximum": maximum}] == [
        between(low=text),
        between(high=text),
    ]


def test_bounds_beyond_64_bits_become_the_largest_double_within() -> None:
    farthest = 2**63 - 1024
    assert [{"type": "number", "minimum": -farthest}, {"type": "number", "maximum": farthest}] == [
        between(low=str(-(2**64))),
        between(high=str(2**64)),
    ]
    assert {"type": "number", "maximum": 10**18} == between(high=str(10**18))
    with pytest.raises(SchemaRefusedError, match="numbers that must have more than 18 digits"):
        between(high=str(-(10**18)))


CONSTANTS = ("1.5", "-0.5", "0.123456789012345", "123456789012340000", str(2**63 - 1024), "1e-22", "120000000000.25")


@pytest.mark.parametrize("text", CONSTANTS)
def test_constant_that_is_read_exactly_is_written(text: str) -> None:
    assert {"const": float(text)} == between(text, text)


@pytest.mark.parametrize("text", ["0.1234567890123456", "9007199254740993", "1e-23", str(2**63)])
def test_constant_of_too_many_digits_is_refused(text: str) -> None:
    with pytest.raises(SchemaRefusedError, match="a number of more than 15 digits is not supported as a constant"):
        between(text, text)


@pytest.mark.parametrize("step", ["0.5", "0.01", "2.5", "0.1", "4294967295", "0.00001"])
def test_multiple_that_is_read_exactly_is_written(step: str) -> None:
    assert {"type": "number", "multipleOf": float(step)} == number_schema(Number(multiple_of=Fraction(step)))


@pytest.mark.parametrize("step", ["0.07", "2.2e-17", "5000000000", "4294967296", "429496729.6", "1e-24"])
def test_multiple_of_too_many_digits_is_refused(step: str) -> None:
    with pytest.raises(SchemaRefusedError, match="'multipleOf' of so many digits"):
        number_schema(Number(multiple_of=Fraction(step)))


@pytest.mark.parametrize(
    ("expected", "low", "high"),
    [
        ({"minimum": 1}, "3", ""),
        ({"maximum": -1}, "", "-3"),
        ({"minimum": 1, "maximum": 9}, "3", "9"),
        ({"minimum": -3}, "-3", ""),
        ({"maximum": 3}, "", "3"),
        ({"minimum": -3, "maximum": 3}, "-3", "3"),
        ({"minimum": 6}, "6", ""),
        ({"minimum": 0}, "0", ""),
    ],
)
def test_multiples_of_one_sign_get_the_bound_one(expected: dict[str, int], low: str, high: str) -> None:
    shape = Number(integer=True, lower=bound(low), upper=bound(high), multiple_of=Fraction(3))
    assert {"type": "integer", "multipleOf": 3, **expected} == number_schema(shape)


def test_bounds_too_close_together_are_refused() -> None:
    for low, high in (("9007199254740993", "9007199254740994"), ("1e-30", "2e-30"), ("1e-30", "1e-22!")):
        with pytest.raises(SchemaRefusedError, match="bounds on numbers that lie so close together"):
            between(low, high)
