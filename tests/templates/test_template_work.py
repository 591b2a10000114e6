"""What a template does is weighed before it is done, in proportion to what it looks through or makes."""

import pytest

from antiphon.templates.template_work import (
    CALL_STEPS,
    ITEM_STEP,
    MAX_INTEGER_BITS,
    TEXT_STEP,
    TooMuchWorkError,
    Work,
    breadth,
    format_cost,
    join_cost,
    method_cost,
    power_cost,
    product_cost,
    replace_cost,
)

TEXT = "x" * TEXT_STEP


def doubled(levels: int) -> list[object]:
    value: list[object] = [1]
    for _ in range(levels):
        value = [value, value]
    return value


def test_the_budget_ends() -> None:
    work = Work(2)
    work.spend(2)
    with pytest.raises(TooMuchWorkError):
        work.spend(1)


@pytest.mark.parametrize(
    ("expected", "value"),
    [(1, ""), (2, TEXT), (2, TEXT.encode()), (1, 5), (3, [1, 2]), (5, {"a": TEXT, 1: 2}), (3, {"a": 1}.items())],
)
def test_a_weight_is_that_of_all_that_is_held(expected: int, value: object) -> None:
    assert expected <= Work().weight(value) <= expected + 1


def test_what_is_shared_weighs_as_often_as_it_is_written() -> None:
    assert 2**60 < Work().weight(doubled(60))


def test_paying_gives_the_value() -> None:
    work = Work(3)
    assert TEXT == work.pay(TEXT)
    assert "" == work.pay_for_elements("")
    with pytest.raises(TooMuchWorkError):
        work.pay(5)


def test_items_are_counted_one_by_one() -> None:
    counted = Work(2).counted(iter("abc"))
    assert ["a", "b"] == [next(counted), next(counted)]
    with pytest.raises(TooMuchWorkError):
        next(counted)


def test_breadth_does_not_look_into_elements() -> None:
    assert 2 == breadth([TEXT] * ITEM_STEP) == breadth(TEXT)


def test_products() -> None:
    assert 1 == product_cost(3, 4) == product_cost(1.5, 2)
    assert 1 + 2 * 1000 == product_cost(TEXT, 1000) == product_cost(1000, TEXT)


def test_numbers_are_bounded() -> None:
    huge = 1 << MAX_INTEGER_BITS
    for make in (lambda: product_cost(huge, huge), lambda: power_cost(9, huge), lambda: Work().pay_for_elements(huge)):
        with pytest.raises(TooMuchWorkError, match="number"):
            make()


@pytest.mark.parametrize("form", ["%9999d", "%*d", "{:>9999}", "{:>{w}}"])
def test_wide_formats_are_refused(form: str) -> None:
    with pytest.raises(TooMuchWorkError, match="width"):
        format_cost(form, 1)


def test_a_format_costs_its_places() -> None:
    assert format_cost("%s" * 10, 100) > 10 * 100


def test_joining_and_replacing_cost_what_they_write() -> None:
    assert join_cost(TEXT, range(1000)) > 1000
    assert replace_cost("a" * 1000, "a", TEXT) > 1000
    assert 1 == replace_cost("a", None, "b")


@pytest.mark.parametrize(
    ("least", "method", "args"),
    [
        (1000, "x".join, (["a"] * 1000,)),
        (1000, ("a" * 1000).replace, ("a", TEXT)),
        (1000 * 500, ("a" * 1000).rfind, ("b" * 500,)),
        (1000 * 500, ("a" * 1000).strip, ("b" * 500,)),
        (1000 * 500, ("\t" * 1000).expandtabs, (500,)),
        (10**6, "a".center, (10**6 * TEXT_STEP,)),
        (10**6, (5).to_bytes, (10**6 * TEXT_STEP, "big")),
        (1000, dict, ([(1, 2)] * 1000,)),
        (1000, [*range(1000)].index, (5,)),
        (CALL_STEPS, range, (5,)),
    ],
)
def test_methods_cost_what_they_may_do(least: int, method: object, args: tuple[object, ...]) -> None:
    assert callable(method)
    assert least <= method_cost(Work(), method, args, {}) <= 4 * least + 1000


def test_translating_is_refused() -> None:
    with pytest.raises(TooMuchWorkError, match="translate"):
        method_cost(Work(), "a".translate, ({97: "b"},), {})
