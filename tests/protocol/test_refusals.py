from typing import Any

import pytest

from antiphon.protocol.refusals import outermost_refused
from tests.protocol.bodies import USER, accepted, error, place, talk

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "file-1"}}
MARKED = {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
SPOKEN = {"role": "assistant", "audio": {"id": "audio_1"}}

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("prediction.content[0].prompt_cache_breakpoint", {"prediction": {"type": "content", "content": [MARKED]}}),
    ("modalities", {"modalities": ["text", "audio"]}),
    ("audio", {"audio": {"voice": "alloy", "format": "wav"}}),
    ("web_search_options", {"web_search_options": {}}),
    ("moderation", {"moderation": {"model": "omni"}}),
    ("prompt_cache_options", {"prompt_cache_options": {"mode": "implicit"}}),
    ("prompt_cache_retention", {"prompt_cache_retention": "24h"}),
    ("messages[1].content[1].image_url", {"messages": [USER, {"role": "user", "content": [MARKED | {}, IMAGE]}]}),
    ("messages[0].content[0].input_audio", {"messages": [{"role": "user", "content": [AUDIO]}]}),
    ("messages[0].content[0].file", {"messages": [{"role": "user", "content": [FILE]}]}),
    ("messages[0].content[0].prompt_cache_breakpoint", {"messages": [{"role": "system", "content": [MARKED]}]}),
    ("messages[0].audio", {"messages": [SPOKEN]}),
    ("add_special_tokens", {"add_special_tokens": True}),
    ("cache_prompt", {"cache_prompt": False}),
    ("early_stopping", {"early_stopping": True}),
    ("id_slot", {"id_slot": 0}),
    ("length_penalty", {"length_penalty": 1.5}),
    ("min_keep", {"min_keep": 2}),
    ("n_discard", {"n_discard": 1}),
    ("n_indent", {"n_indent": 1}),
    ("n_keep", {"n_keep": 1}),
    ("n_probs", {"n_probs": 1}),
    ("post_sampling_probs", {"post_sampling_probs": True}),
    ("return_hidden_states", {"return_hidden_states": True}),
    ("return_progress", {"return_progress": True}),
    ("return_tokens_as_token_ids", {"return_tokens_as_token_ids": True}),
    ("t_max_predict_ms", {"t_max_predict_ms": 1}),
    ("timings_per_token", {"timings_per_token": True}),
    ("use_beam_search", {"use_beam_search": True}),
]


@pytest.mark.parametrize(("param", "fields"), REFUSED)
def test_unsupported_field_is_refused_by_name(param: str, fields: dict[str, Any]) -> None:
    assert (param, "unsupported_parameter") == place(**fields)


def test_every_refused_field_has_a_test_case() -> None:
    tried = {"".join("[]" if part.isdigit() else part for part in _split(param)) for param, _ in REFUSED}
    assert {field.path for field in outermost_refused()} == tried


def _split(param: str) -> list[str]:
    return param.replace("[", "\0").replace("]", "\0").split("\0")


def test_error_names_every_refused_field() -> None:
    message, param, _ = error(prompt_cache_retention="24h", modalities=["audio"], audio={"voice": "a", "format": "wav"})
    assert "modalities" == param
    assert [True] * 3 == [f"'{name}'" in message for name in ("modalities", "audio", "prompt_cache_retention")]


def test_error_names_the_missing_capability() -> None:
    assert (
        "Unsupported parameter: 'audio'. This server does not support audio answers yet.",
        "audio",
        "unsupported_parameter",
    ) == error(audio={"voice": "alloy", "format": "wav"})


@pytest.mark.parametrize(
    "fields",
    [
        *({field.path: value} for field in outermost_refused() for value in field.idle),
        {field.path: None for field in outermost_refused() if "." not in field.path},
    ],
)
def test_refused_field_with_a_neutral_value_is_accepted(fields: dict[str, Any]) -> None:
    assert "tiny" == accepted(**fields).model


def test_refused_field_of_null_in_a_message_is_accepted() -> None:
    part = {"type": "text", "text": "x", "prompt_cache_breakpoint": None}
    request = talk({"role": "user", "content": [part]}, {"role": "assistant", "content": "x", "audio": None})
    assert 2 == len(request.messages)


def test_outermost_refused_lacks_fields_nested_in_refused_ones() -> None:
    paths = {field.path for field in outermost_refused()}
    assert "audio" in paths
    assert not any(path.startswith("audio.") for path in paths)
