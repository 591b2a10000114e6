import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk, completion_create_params

from antiphon.protocol.field import Field, Side
from antiphon.protocol.fields import FIELDS, fields_markdown, fields_of
from tests.protocol.sdk_types import sdk_paths

ROOT = Path(__file__).parents[2]
REQUEST = (
    completion_create_params.CompletionCreateParamsStreaming,
    completion_create_params.CompletionCreateParamsNonStreaming,
)
SDK: dict[Side, set[str]] = {"request": sdk_paths(*REQUEST), "response": sdk_paths(ChatCompletion, ChatCompletionChunk)}


def test_the_walk_over_the_sdk_sees_nested_fields() -> None:
    assert {"messages[].content[].image_url.detail", "audio.voice.id", "stop"} <= SDK["request"]
    assert {"choices[].delta.tool_calls[].function.name", "obfuscation"} <= SDK["response"]


@pytest.mark.parametrize("side", ["request", "response"])
def test_the_table_has_every_field_of_the_sdk_and_no_other(side: Side) -> None:
    assert SDK[side] == {field.path for field in fields_of(side) if not field.extension}


@pytest.mark.parametrize("side", ["request", "response"])
def test_no_extension_is_a_field_of_the_sdk(side: Side) -> None:
    assert not SDK[side] & {field.path for field in fields_of(side) if field.extension}


@pytest.mark.parametrize("module", sorted({field.module for field in FIELDS}))
def test_every_module_exists(module: str) -> None:
    assert find_spec(module) is not None


@pytest.mark.parametrize("test", sorted({field.test for field in FIELDS}))
def test_every_test_exists(test: str) -> None:
    assert (ROOT / test).is_file()


HONOURED = [field for field in FIELDS if field.status == "honoured"]


@pytest.mark.parametrize("field", HONOURED, ids=lambda field: f"{field.side} {field.path}")
def test_the_module_and_the_test_of_an_honoured_field_name_it(field: Field) -> None:
    name = re.compile(rf"\b{field.path.rpartition('.')[2].removesuffix('[]')}\b")
    module = f"src/{field.module.replace('.', '/')}.py"
    assert [] == [file for file in (module, field.test) if not name.search((ROOT / file).read_text())]


def test_the_page_has_a_row_for_every_field() -> None:
    rows = [line for line in fields_markdown().splitlines() if line.startswith("| `")]
    assert [f"`{field.path}`" for field in FIELDS] == [row.split(" | ")[0].removeprefix("| ") for row in rows]


@pytest.mark.parametrize(
    "row",
    [
        (
            "| `temperature` | honoured | 0 to 2. | `antiphon.engine.sampling.logits_processors` | "
            "`tests/engine/sampling/test_logits_processors.py` |"
        ),
        (
            "| `ignore_eos` | honoured | Extension (vLLM, llama.cpp, SGLang). true: no token that ends the answer is "
            "drawn. A grammar that ends wins. | `antiphon.engine.sampling.logits_processors` | "
            "`tests/engine/sampling/test_logits_processors.py` |"
        ),
        (
            "| `cache_prompt` | **refused** | Extension (llama.cpp). Asks for prompts that are not cached. "
            "Passes: `true`. | `antiphon.protocol.refusals` | `tests/protocol/test_refusals.py` |"
        ),
        (
            "| `web_search_options` | **refused** | Asks for web search. | "
            "`antiphon.protocol.refusals` | `tests/protocol/test_refusals.py` |"
        ),
        (
            "| `moderation` | **not sent** | Comes with moderation. | "
            "`antiphon.protocol.responses` | `tests/protocol/test_responses.py` |"
        ),
    ],
)
def test_rows_of_the_page(row: str) -> None:
    assert row in fields_markdown().splitlines()


def test_extensions_are_marked() -> None:
    assert "| `min_p` | honoured | Extension (vLLM, llama.cpp). 0 to 1. |" in fields_markdown()


def test_no_cell_breaks_the_table() -> None:
    assert not [field for field in FIELDS if "|" in field.note or "\n" in field.note]


def test_the_page_ends_in_one_newline() -> None:
    assert fields_markdown().endswith("|\n")
    assert isinstance(FIELDS[0], Field)
