"""A plugin of pytest for tests that stop at the first failure: what is quick goes first.

hypothesis draws the same examples in every run, and does not look for smaller ones that fail.
"""

import pytest
from hypothesis import Phase, is_hypothesis_test, settings

settings.register_profile(
    "mutants", database=None, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put properties, which run a test a hundred times, behind examples."""
    items.sort(key=lambda item: isinstance(item, pytest.Function) and is_hypothesis_test(item.obj))
