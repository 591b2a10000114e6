import pytest

from antiphon.backends.router import Router
from antiphon.errors import ModelNotFoundError
from tests.scripted_engine import ScriptedEngine, scripted_backend

pytestmark = pytest.mark.anyio


def test_names_lead_to_backends_in_their_order() -> None:
    first, second = scripted_backend(), scripted_backend()
    router = Router({"b": first, "a": second})
    assert ["b", "a"] == list(router)
    assert second is router.backend("a")
    assert "a" in router


def test_an_unknown_model_is_named_with_its_param() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Router({}).backend("gpt")
    assert "The model `gpt` does not exist or you do not have access to it." == caught.value.message
    assert ("model", "model_not_found", 404) == (caught.value.param, caught.value.code, caught.value.status)


async def test_it_is_ready_when_all_are_and_closes_all() -> None:
    engines = [ScriptedEngine(), ScriptedEngine(info=None)]
    router = Router({str(number): scripted_backend(engine) for number, engine in enumerate(engines)})
    before = router.ready
    await router.start()
    assert (False, True) == (before, router.ready)
    await router.close()
    assert [1, 1] == [engine.closed for engine in engines]


class BrokenEngine(ScriptedEngine):
    async def close(self) -> None:
        await super().close()
        raise OSError("broken")


async def test_one_that_does_not_close_keeps_no_other_open() -> None:
    last = ScriptedEngine()
    router = Router({"broken": scripted_backend(BrokenEngine()), "last": scripted_backend(last)})
    with pytest.raises(OSError, match="broken"):
        await router.close()
    assert 1 == last.closed
