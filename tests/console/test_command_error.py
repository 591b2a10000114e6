from antiphon.console.command_error import CommandError


def test_command_error_has_message_and_advice() -> None:
    error = CommandError("The port is taken.", "Choose another.")
    assert ("The port is taken.", "Choose another.", "The port is taken.") == (error.message, error.advice, str(error))
