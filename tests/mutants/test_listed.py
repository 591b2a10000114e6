import pytest

from mutants.listed import PAGE, Listed, gone, listed, row
from mutants.modules import MODULES, source_of
from tests.conftest import ROOT

ENTRY = Listed(
    "engine/cache/lease", "Lease.length", "return self.shared | 1", "return self.shared", "A reason, with | in it."
)


def page(*rows: str) -> str:
    table = ["| Module | Function | Before | After | Why |", "| --- | --- | --- | --- | --- |", *rows]
    return "\n".join(["# Mutants", "<!-- equivalent -->", *table, "<!-- /equivalent -->", "| not | a | row |"])


def test_written_row_is_read_unchanged() -> None:
    assert [ENTRY] == listed(page(row(ENTRY)))


def test_table_may_be_empty() -> None:
    assert [] == listed(page())


@pytest.mark.parametrize("line", ["| `a` | `b` | `c` | `d` |", "| `a` | `b` | `c` | `d` | |", "| a |"])
def test_row_without_a_cell_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="a row has 5 cells"):
        listed(page(line))


def test_page_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        listed("# Mutants")


def test_row_without_a_mutant_in_an_examined_module_is_gone() -> None:
    assert [ENTRY] == gone([ENTRY], {"engine/cache/lease": [("Lease.length", "other", "return self.shared")]})
    assert [] == gone([ENTRY], {"engine/cache/lease": [ENTRY.name]})
    assert [] == gone([ENTRY], {"engine/worker/core": []})


def test_rows_of_the_page_name_existing_mutants() -> None:
    entries = listed((ROOT / PAGE).read_text())
    assert set() == {entry.module for entry in entries} - set(MODULES)
    code = {module: " ".join((ROOT / source_of(module)).read_text().split()) for module in MODULES}
    assert [] == [entry for entry in entries if entry.before not in code[entry.module]]
    assert len(entries) == len({(entry.module, *entry.name) for entry in entries}), "each mutant is listed once"
