from mutants.mutant import Mutant

SOURCE = "a = 1\nb = 2\n"
MUTANT = Mutant(function="f", line=2, before="b = 2", after="b = 3", start=10, end=11, text="3")


def test_mutant_changes_only_its_place() -> None:
    assert "a = 1\nb = 3\n" == MUTANT.applied(SOURCE)


def test_name_of_a_mutant_does_not_depend_on_its_place() -> None:
    assert ("f", "b = 2", "b = 3") == MUTANT.name
