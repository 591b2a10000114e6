import itertools

import pytest

from antiphon.backends.local_tokens import LocalTokens
from antiphon.errors import InvalidRequestError, ModelNotFoundError, RateLimitError
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.token_requests import (
    DetokenizeAnswer,
    DetokenizeRequest,
    InputTokens,
    TemplateAnswer,
    TokenizeAnswer,
    TokenizeRequest,
    TokenPiece,
)
from antiphon.service.access import Caller
from antiphon.service.token_operations import TokenOperations
from antiphon.store.database import Database
from antiphon.store.limits import Limits
from tests.backends.test_local_tokens import TOKENS
from tests.service.test_admission import limiter

pytestmark = pytest.mark.anyio

CALLER = Caller()
REQUEST = CreateChatCompletion(model="m", messages=[UserMessage(content="ab")])


def operations(*names: str) -> TokenOperations:
    models: dict[str, LocalTokens] = dict.fromkeys(names or ("m",), TOKENS)
    ids = map(str, itertools.count())
    return TokenOperations(models, None, lambda: next(ids))


async def test_prompt_is_counted_and_shown() -> None:
    assert InputTokens(input_tokens=2) == await operations().count(REQUEST, CALLER)
    assert TemplateAnswer(prompt="ab") == await operations().apply_template(REQUEST, CALLER)


async def test_prompt_and_text_are_tokenized() -> None:
    expected = TokenizeAnswer(count=2, max_model_len=99, tokens=[97, 98])
    assert expected == await operations().tokenize(REQUEST, CALLER)
    assert expected == await operations().tokenize(TokenizeRequest(content="ab"), CALLER)


async def test_tokens_have_their_texts_in_the_form_of_the_request() -> None:
    strings = await operations().tokenize(TokenizeRequest(content="a", return_token_strs=True), CALLER)
    assert ([97], ["a"]) == (strings.tokens, strings.token_strs)
    pieces = await operations().tokenize(TokenizeRequest(content="a", with_pieces=True), CALLER)
    assert ([TokenPiece(id=97, piece="a")], None) == (pieces.tokens, pieces.token_strs)


async def test_ids_are_detokenized() -> None:
    expected = DetokenizeAnswer(prompt="ab", content="ab")
    assert expected == await operations().detokenize(DetokenizeRequest(tokens=[97, 98]), CALLER)


async def test_model_may_be_left_out_only_where_one_is_served() -> None:
    assert ("m", None) == (operations().default_model, operations("m", "other").default_model)
    with pytest.raises(InvalidRequestError, match="Missing required parameter: 'model'"):
        await operations("m", "other").detokenize(DetokenizeRequest(tokens=[]), CALLER)
    with pytest.raises(ModelNotFoundError):
        await operations().detokenize(DetokenizeRequest(model="other", tokens=[]), CALLER)


async def test_each_operation_is_one_request_of_the_rate_limits(database: Database) -> None:
    limits = limiter(database, Limits(requests_per_minute=2, tokens_per_minute=10))
    ids = map(str, itertools.count())
    operations = TokenOperations({"m": TOKENS}, limits, lambda: next(ids))
    await operations.count(REQUEST, CALLER)
    await operations.tokenize(TokenizeRequest(content="a" * 100), CALLER)
    with pytest.raises(RateLimitError):
        await operations.detokenize(DetokenizeRequest(tokens=[97]), CALLER)
