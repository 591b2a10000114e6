from dataclasses import fields

import pytest

from antiphon.cli import create_cli
from antiphon.cli.options import EngineFlags, ServerFlags
from antiphon.config import ServerOptions
from antiphon.engine.interface import EngineOptions


def test_every_engine_option_is_on_the_command_line_with_its_default() -> None:
    assert EngineOptions(model_path="m.gguf") == EngineFlags().options("m.gguf")
    assert {"model_path", *(field.name for field in fields(EngineFlags))} == set(EngineOptions.__struct_fields__)


def test_every_server_option_is_on_the_command_line_with_its_default() -> None:
    assert ServerOptions() == ServerFlags().options()
    assert len(ServerOptions.__struct_fields__) == len(fields(ServerFlags))


def test_options_reach_the_engine() -> None:
    options = EngineFlags(ctx_size=4096, flash_attn=False, use_mlock=True).options("m.gguf")
    assert (4096, False, True) == (options.ctx_size, options.flash_attn, options.use_mlock)


def test_options_reach_the_server() -> None:
    assert ("http://a", "http://b") == ServerFlags(cors_origin=("http://a", "http://b")).options().cors_origins


@pytest.mark.parametrize(
    "arguments",
    [["--ctx-size", "-1"], ["--port", "65536"], ["--max-num-seqs", "0"], ["--n-gpu-layers", "-2"], ["--threads", "x"]],
)
def test_values_out_of_range_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        create_cli()(["serve", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err
