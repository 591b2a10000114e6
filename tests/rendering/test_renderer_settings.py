"""The settings of a model's renderers are the argument of their fork server."""

import msgspec

from antiphon.rendering.renderer_settings import FACTORY, LIMITS, RendererSettings, fork_server_settings

SETTINGS = RendererSettings(model_path="m.gguf", template="{{ messages }}", chat_format="mistral")


def test_factory_gets_the_settings() -> None:
    made = fork_server_settings(SETTINGS)
    assert (FACTORY, LIMITS) == (made.factory, made.limits)
    assert SETTINGS == msgspec.json.decode(made.argument, type=RendererSettings)


def test_settings_of_one_model_are_equal_so_that_a_preloaded_server_is_found() -> None:
    assert fork_server_settings(SETTINGS) == fork_server_settings(SETTINGS)
    assert fork_server_settings(SETTINGS) != fork_server_settings(RendererSettings(model_path="m.gguf"))
