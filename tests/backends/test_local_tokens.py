import pytest

from antiphon.backends.local_tokens import LocalTokens
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.render_job import TokenJob, Tokens
from antiphon.rendering.token_texts import convert_tokens
from tests.rendering.test_token_texts import VOCABULARY
from tests.scripted_engine import ScriptedRenderer

pytestmark = pytest.mark.anyio


class Renderer(ScriptedRenderer):
    """Renders as the scripted renderer does, and converts with a vocabulary of bytes."""

    max_model_len = 99

    async def convert(self, job: TokenJob) -> Tokens:
        return convert_tokens(VOCABULARY, job)


TOKENS = LocalTokens(Renderer())


async def test_prompt_of_a_request_is_what_the_renderer_makes() -> None:
    request = CreateChatCompletion(model="m", messages=[UserMessage(content="ab")])
    assert [97, 98] == await TOKENS.prompt_ids(request, "req")
    assert 99 == TOKENS.max_model_len


async def test_text_and_ids_are_converted_both_ways() -> None:
    found = await TOKENS.tokenize("a<end>", add_special=False, parse_special=True, texts=True)
    assert ([97, 256], ["a", "<end>"]) == (found.ids, found.texts)
    assert "a<end>" == await TOKENS.detokenize(found.ids)
