"""A pytest plugin that runs fast tests first, for runs that stop at the first failure.

hypothesis draws the same examples in every run and does not shrink failing ones. Tests of the store run on SQLite only,
and not on a full disk: on PostgreSQL they take twice the time and nearly always find the same mutants.
"""

import pytest
from hypothesis import Phase, is_hypothesis_test, settings

settings.register_profile(
    "mutants", database=None, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run properties, which take a hundred examples, after other tests; leave out PostgreSQL and full disks."""
    items[:] = [item for item in items if not (_is_on_postgresql(item) or _has_small_disk(item))]
    items.sort(key=lambda item: isinstance(item, pytest.Function) and is_hypothesis_test(item.obj))


def _is_on_postgresql(item: pytest.Item) -> bool:
    return (
        isinstance(item, pytest.Function) and hasattr(item, "callspec") and "postgresql" in item.callspec.id.split("-")
    )


def _has_small_disk(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "small_disk" in item.fixturenames
