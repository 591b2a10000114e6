"""The error of a command that cannot do its work because of its arguments or its machine."""


class CommandError(Exception):
    """Ends a command with exit status 1, a message and advice instead of a traceback."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
