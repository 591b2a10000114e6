import msgspec

from antiphon.backends.engine_counters import engine_readings
from antiphon.engine.interface import STEP_BOUNDS
from antiphon.telemetry.distribution import Distribution
from tests.scripted_engine import STATS, ScriptedEngine, scripted_backend


def values(engine: ScriptedEngine) -> dict[str, object]:
    """Read the counters of one engine, without the labels."""
    readings = engine_readings({"m": scripted_backend(engine)})
    return {reading.metric.name: reading.value for reading in readings if reading.labels == ("m",)}


def test_the_newest_counters_are_read() -> None:
    engine, steps = ScriptedEngine(), Distribution.over(STEP_BOUNDS)
    steps.observe(3)
    engine.restarts = 2
    engine.stats = msgspec.structs.replace(
        STATS,
        running=3,
        waiting=4,
        kv_cells_used=512,
        kv_cells_cached=256,
        prompt_tokens=100,
        cached_tokens=40,
        generated_tokens=60,
        drafts=2,
        draft_tokens=10,
        accepted_tokens=7,
        tokens_per_step=steps,
    )
    expected = {
        "num_requests_running": 3,
        "num_requests_waiting": 4,
        "kv_cache_usage_perc": 0.25,
        "kv_cache_cached_perc": 0.25,
        "kv_cache_size_tokens": 1024,
        "prompt_tokens": 100,
        "prompt_tokens_cached": 40,
        "prefix_cache_queries": 100,
        "prefix_cache_hits": 40,
        "generation_tokens": 60,
        "spec_decode_num_drafts": 2,
        "spec_decode_num_draft_tokens": 10,
        "spec_decode_num_accepted_tokens": 7,
        "iteration_tokens_total": steps,
        "engine_restarts": 2,
    }
    found = values(engine)
    assert expected == {name: found.get(name) for name in expected}


def test_kv_usage_of_an_engine_without_cells_is_0() -> None:
    engine = ScriptedEngine()
    engine.stats = msgspec.structs.replace(STATS, kv_cells_total=0)
    assert 0.0 == values(engine)["kv_cache_usage_perc"]


def test_engine_without_a_report_has_only_restarts_and_token_latency() -> None:
    engine = ScriptedEngine()
    engine.stats = None
    assert {"engine_restarts", "inter_token_latency_seconds"} == set(values(engine))


def test_queue_time_has_a_series_per_service_tier() -> None:
    readings = engine_readings({"m": scripted_backend()})
    assert {("m", "default"), ("m", "flex"), ("m", "priority")} >= {
        reading.labels for reading in readings if reading.metric.name == "request_queue_time_seconds"
    }
