import pytest

from mutants.modules import HELD_ELSEWHERE, MODULES, SOURCE, chosen, held_by, source_of
from tests.conftest import ROOT

WITHOUT_BEHAVIOUR = {"assembly/__init__", "constraints/json_schema/__init__", "constraints/json_schema/schema_errors",
                     "constraints/json_schema/formats"}  # fmt: skip
"""They name a door, hold the texts of errors, or are a table."""


@pytest.mark.parametrize("module", MODULES)
def test_module_and_its_tests_exist(module: str) -> None:
    assert [] == [path for path in (source_of(module), *held_by(module)) if not (ROOT / path).is_file()]


@pytest.mark.parametrize("folder", ["assembly", "constraints/json_schema"])
def test_every_module_of_a_folder_is_listed(folder: str) -> None:
    names = {f"{folder}/{path.stem}" for path in (ROOT / SOURCE / folder).glob("*.py")}
    assert names - WITHOUT_BEHAVIOUR == set(chosen(folder))


def test_only_listed_modules_have_further_tests() -> None:
    assert set() == set(HELD_ELSEWHERE) - set(MODULES)
    assert len(MODULES) == len(set(MODULES))


def test_mirrored_tests_run_first() -> None:
    assert [
        "tests/engine/cache/test_lease.py",
        "tests/engine/cache/test_kv_cache.py",
        "tests/engine/cache/test_kv_cache_machine.py",
    ] == [*map(str, held_by("engine/cache/lease"))]


@pytest.mark.parametrize("name", ["engine/cache/lease", "src/antiphon/engine/cache/lease.py"])
def test_module_is_chosen_by_name_or_path(name: str) -> None:
    assert ("engine/cache/lease",) == chosen(name)


def test_empty_name_chooses_all_modules() -> None:
    assert MODULES == chosen("")


@pytest.mark.parametrize("name", ["server", "engine/cache/leas", "lease"])
def test_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is none of the mutated modules"):
        chosen(name)
