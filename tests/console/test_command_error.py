from antiphon.console.command_error import CommandError


def test_an_error_carries_its_advice() -> None:
    error = CommandError("The port is taken.", "Choose another.")
    assert ("The port is taken.", "Choose another.", "The port is taken.") == (error.message, error.advice, str(error))
