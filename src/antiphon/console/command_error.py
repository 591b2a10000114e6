"""What a command cannot do because of what it was told or where it runs: told in a sentence, never as a traceback."""


class CommandError(Exception):
    """Ends a command with exit status 1. ``advice`` says what would help."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
