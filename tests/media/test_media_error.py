"""The error for refused media."""

from antiphon.media.media_error import MediaError, fetching_is_off


def test_error_has_its_message_and_the_code_of_the_reference() -> None:
    error = MediaError("The image is empty.", "empty_image_file")
    assert ("The image is empty.", "empty_image_file") == (error.message, error.code)
    assert "The image is empty." == str(error)


def test_refusal_of_all_urls_names_the_option() -> None:
    assert "--fetch-media" in fetching_is_off().message
    assert "invalid_image_url" == fetching_is_off().code
