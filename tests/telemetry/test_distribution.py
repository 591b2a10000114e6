import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.telemetry.distribution import Distribution

BOUNDS = (1.0, 2.5, 10.0)
VALUES = st.lists(st.integers(-5, 15))


def filled(values: list[int]) -> Distribution:
    distribution = Distribution.over(BOUNDS)
    for value in values:
        distribution.observe(value)
    return distribution


def test_value_on_a_bound_is_in_the_bucket_below_it() -> None:
    assert [2, 1, 1, 1] == filled([0, 1, 2, 3, 11]).counts


@settings(deadline=None)
@given(VALUES)
def test_every_value_is_counted_once_and_summed(values: list[int]) -> None:
    distribution = filled(values)
    assert (len(values), sum(values)) == (sum(distribution.counts), distribution.total)
    for at, bound in enumerate(BOUNDS):
        assert sum(value <= bound for value in values) == sum(distribution.counts[: at + 1])


@settings(deadline=None)
@given(VALUES, VALUES)
def test_sum_of_two_distributions_has_all_values(first: list[int], second: list[int]) -> None:
    assert filled(first + second) == filled(first) + filled(second)


def test_copy_does_not_change_with_the_original() -> None:
    distribution = filled([3])
    copy = distribution.copy()
    distribution.observe(3)
    assert ([0, 0, 1, 0], [0, 0, 2, 0]) == (copy.counts, distribution.counts)


def test_distribution_survives_encoding() -> None:
    data = msgspec.msgpack.encode(filled([1, 2, 3]))
    assert filled([1, 2, 3]) == msgspec.msgpack.decode(data, type=Distribution)


def test_distributions_with_different_bounds_cannot_be_added() -> None:
    with pytest.raises(AssertionError, match="=="):
        filled([1]) + Distribution.over((1.0,))
