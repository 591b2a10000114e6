import pytest

from antiphon.backends.backend import Backend, BackendStatus, Call
from antiphon.errors import InvalidRequestError, ModelNotFoundError
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.routing.router import Router
from tests.scripted_engine import ScriptedEngine, ends, says, scripted_backend
from tests.scripted_upstream import ScriptedUpstream

pytestmark = pytest.mark.anyio


def request(model: str = "m", *, seed: int | None = None, logprobs: bool | None = None) -> CreateChatCompletion:
    return CreateChatCompletion(messages=[UserMessage(content="Hi")], model=model, seed=seed, logprobs=logprobs)


def test_models_keep_their_order_and_their_backends() -> None:
    first, second = scripted_backend(), scripted_backend()
    router = Router({"b": [first], "a": [second]})
    assert ["b", "a"] == list(router)
    assert [second] == router.candidates(request("a"))
    assert "a" in router


def test_an_unknown_model_is_named_with_its_param() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Router({}).candidates(request("gpt"))
    assert "The model `gpt` does not exist or you do not have access to it." == caught.value.message
    assert ("model", "model_not_found", 404) == (caught.value.param, caught.value.code, caught.value.status)


def test_the_candidates_come_in_the_order_of_preference() -> None:
    backends = [ScriptedUpstream(), ScriptedUpstream()]
    assert backends == Router({"m": backends}).candidates(request())


def test_a_backend_that_lacks_a_field_of_the_request_is_no_candidate() -> None:
    lacking: Backend = ScriptedUpstream()
    able: Backend = scripted_backend()
    assert [able] == Router({"m": [lacking, able]}).candidates(request(logprobs=True))


def test_a_field_that_no_backend_honours_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Router({"m": [ScriptedUpstream()]}).candidates(request(logprobs=True))
    assert "Unsupported parameter: 'logprobs' is not supported with the model `m`." == caught.value.message
    assert ("logprobs", "unsupported_parameter") == (caught.value.param, caught.value.code)


async def test_a_request_is_answered_by_the_first_backend_that_is_available() -> None:
    backends: list[Backend] = [
        scripted_backend(ScriptedEngine(info=None)),
        ScriptedUpstream([*says("Hello"), *ends()]),
    ]
    call = Call(completion_id="c", created=1, request=request())
    parts = [part async for part in Router({"m": backends}).stream(call)]
    said = "".join(choice.delta.content or "" for part in parts for chunk in part.chunks for choice in chunk.choices)
    assert "Hello" == said


@pytest.mark.parametrize(
    ("expected", "ready"), [("ready", (True, False)), ("ready", (False, True)), ("unavailable", (False, False))]
)
def test_model_is_ready_while_one_of_its_backends_is(expected: str, ready: tuple[bool, bool]) -> None:
    backends = [ScriptedUpstream(), ScriptedUpstream()]
    for backend, each in zip(backends, ready, strict=True):
        backend.ready = each
    status: BackendStatus = Router({"m": backends}).status("m")
    assert expected == status.state


async def test_router_is_ready_when_all_models_are_and_closes_all_backends() -> None:
    engines = [ScriptedEngine(), ScriptedEngine(info=None)]
    router = Router({str(number): [scripted_backend(engine)] for number, engine in enumerate(engines)})
    before = router.ready
    await router.start()
    assert (False, True) == (before, router.ready)
    await router.close()
    assert [1, 1] == [engine.closed for engine in engines]


async def test_a_backend_of_two_models_is_closed_once() -> None:
    backend = ScriptedUpstream()
    await Router({"a": [backend], "b": [backend]}).close()
    assert 1 == backend.closed


class BrokenEngine(ScriptedEngine):
    async def close(self) -> None:
        await super().close()
        raise OSError("broken")


async def test_all_backends_are_closed_even_when_one_raises() -> None:
    last = ScriptedEngine()
    router = Router({"broken": [scripted_backend(BrokenEngine())], "last": [scripted_backend(last)]})
    with pytest.raises(OSError, match="broken"):
        await router.close()
    assert 1 == last.closed
