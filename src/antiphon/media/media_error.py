"""The error for a picture, a sound or a URL that cannot be used."""


class MediaError(Exception):
    """The input is refused: the message and the code of a 400.

    The codes are the reference's. The caller knows which field held the input and adds it as ``param``.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def fetching_is_off() -> MediaError:
    """Return the error for a URL on a server that fetches none."""
    message = (
        "This server fetches no images: send the image as a data URL, or start the server with --fetch-media and the "
        "hosts that it may fetch from."
    )
    return MediaError(message, "invalid_image_url")
