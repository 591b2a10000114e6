"""docs/limits.md says what the constants say, and leaves out none of those that bound a request."""

import re
from importlib import import_module

import pytest

from antiphon.config import ServerOptions
from antiphon.protocol import bounds as limits
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?P<what>.*?) \| (?P<limit>[0-9.]+) \|.* `(?P<where>antiphon\.[\w.]+)` \|$", re.MULTILINE)
ROWS = [(match["limit"], match["where"]) for match in ROW.finditer(PAGE)]
COMPLETE = (
    "antiphon.protocol.bounds",
    "antiphon.constraints.json_schema.vocabulary",
    "antiphon.constraints.json_schema.multiples",
    "antiphon.constraints.custom_tools",
    "antiphon.constraints.grammar_size",
    "antiphon.media.audio",
    "antiphon.media.base64_data",
    "antiphon.media.fetch_cache",
    "antiphon.media.fetching",
    "antiphon.media.guarded_network",
    "antiphon.media.image_size",
    "antiphon.media.images",
    "antiphon.media.isolated_decoder",
)
"""Modules all of whose limits are on the page."""


def value(where: str) -> object:
    """Give the constant of a module, or the attribute or default of a class in one."""
    owner, _, name = where.rpartition(".")
    module, _, last = owner.rpartition(".")
    if not last[0].isupper():
        return getattr(import_module(owner), name)
    found = getattr(import_module(module), last)
    return getattr(ServerOptions() if found is ServerOptions else found, name)


@pytest.mark.parametrize(("limit", "where"), ROWS)
def test_limit_of_the_page_is_that_of_the_code(limit: str, where: str) -> None:
    assert limit == str(value(where))


def test_every_row_of_the_tables_is_checked() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(lines) == len(ROWS) + PAGE.count("| --- |\n")


@pytest.mark.parametrize("module", COMPLETE)
def test_page_has_every_limit_of_these_modules(module: str) -> None:
    told = {where.rpartition(".")[2] for _, where in ROWS}
    assert set() == {name for name in vars(import_module(module)) if name.startswith("MAX_")} - told


def test_limits_of_requests_are_named_once() -> None:
    own = [where for _, where in ROWS if where.startswith(limits.__name__)]
    assert len(own) == len(set(own))
