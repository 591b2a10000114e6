from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.backends.local import LocalBackend
from antiphon.cli.model_preload import ModelPreload
from antiphon.cli.options import EngineFlags, TemplateFlags
from antiphon.cli.wiring import open_service
from antiphon.console.command_error import CommandError
from antiphon.engine.host.client import EngineClient
from antiphon.engine.host.launcher import ProcessWorker
from antiphon.engine.interface import ModelInfo
from antiphon.model_files.model_sources import ModelFile
from antiphon.protocol.requests import decode_request
from antiphon.protocol.responses import ChatCompletion
from antiphon.rendering.renderer_settings import RendererSettings
from antiphon.service import Service
from tests.engine.tiny_gguf import write_tiny_model

pytestmark = pytest.mark.anyio

FLAGS = EngineFlags(ctx_size=512, max_num_seqs=2, threads=1)
BODY = b'{"model":"%s","messages":[{"role":"user","content":"Hi"}],"max_completion_tokens":4,"temperature":0}'


async def ask(service: Service, name: bytes) -> ChatCompletion:
    return await service.create(decode_request(BODY % name))


async def test_each_model_answers_under_its_name_with_its_template(smollm2_path: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    models = [ModelFile(name="a", path=smollm2_path), ModelFile(name="b", path=smollm2_path)]
    infos: list[tuple[str, ModelInfo]] = []

    def loaded(model: ModelFile, info: ModelInfo) -> None:
        infos.append((model.name, info))

    async with open_service(models, FLAGS, template=TemplateFlags(chat_template=template), on_loaded=loaded) as service:
        assert ["a", "b"] == [model.id for model in service.models().data]
        answers = [await ask(service, name) for name in (b"a", b"b")]
        assert service.ready
    assert [1, 1] == [answer.usage.prompt_tokens for answer in answers]
    assert [("a", 512), ("b", 512)] == [(name, info.ctx_size) for name, info in infos]
    assert not service.ready


async def test_preloaded_process_serves(smollm2_path: Path) -> None:
    path = str(smollm2_path)
    with ModelPreload(FLAGS.options(path), RendererSettings(model_path=path)) as preload:
        assert preload._worker is not None
        assert preload.fork_server is not None
        assert preload.fork_server._started is not None
        assert preload._worker._process is not None
        begun = preload._worker._process.pid
        async with open_service([ModelFile(name="m", path=smollm2_path)], FLAGS, preload=preload) as service:
            (backend,) = service.router.candidates(decode_request(BODY % b"m"))
            assert isinstance(backend, LocalBackend)
            assert isinstance(backend._engine, EngineClient)
            worker = backend._engine._supervisor._worker
            assert isinstance(worker, ProcessWorker)
            assert begun == worker._process.pid
            assert preload.fork_server._started is None


async def test_damaged_file_is_a_command_error(tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(b"GGUF and nothing that follows")
    with pytest.raises(CommandError, match="The model m cannot be served"):
        async with open_service([ModelFile(name="m", path=path)], FLAGS):
            pass


async def test_invalid_template_is_a_command_error(tmp_path: Path, smollm2_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{% for %}")
    with pytest.raises(CommandError, match="The chat template of the model m cannot be used"):
        async with open_service(
            [ModelFile(name="m", path=smollm2_path)], FLAGS, template=TemplateFlags(chat_template=template)
        ):
            pass


async def test_chat_format_option_sets_the_notation_of_tool_calls(smollm2_path: Path) -> None:
    flags = TemplateFlags(chat_format="mistral")
    call = b"""{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 1,
        "tools": [{"type": "function", "function": {"name": "look"}}], "logprobs": true}"""
    async with open_service([ModelFile(name="m", path=smollm2_path)], FLAGS, template=flags) as service:
        (backend,) = service.router.candidates(decode_request(call))
        assert isinstance(backend, LocalBackend)
        rendering = await backend._renderer.render(decode_request(call), "r", "")
    assert "[TOOL_CALLS]" in rendering.generate.grammar


async def test_draft_model_changes_no_answer(smollm2_path: Path) -> None:
    model = ModelFile(name="m", path=smollm2_path)
    contents = []
    for flags in (FLAGS, replace(FLAGS, draft_model=str(smollm2_path))):
        async with open_service([model], flags) as service:
            contents.append((await ask(service, b"m")).choices[0].message.content)
    assert contents[0] == contents[1]


async def test_draft_model_with_another_vocabulary_is_refused(smollm2_path: Path, tmp_path: Path) -> None:
    tiny = write_tiny_model(tmp_path / "tiny.gguf")
    with pytest.raises(CommandError, match="has another vocabulary"):
        async with open_service([ModelFile(name="m", path=smollm2_path)], replace(FLAGS, draft_model=str(tiny))):
            pass
