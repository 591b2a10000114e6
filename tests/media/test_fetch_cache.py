"""The cache of fetched files: by project, for a short time, in bounded bytes."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.media.fetch_cache import CACHE_SECONDS, ENTRY_BYTES, FetchCache, Fetched

URL = "https://pictures.test/maple.png"


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def file(data: bytes = b"maple") -> Fetched:
    return Fetched(data=data, content_type="image/png", url=URL)


def test_file_is_kept_for_its_project_and_url_only() -> None:
    cache = FetchCache(Clock())
    cache.put("forest", URL, file())
    assert file() == cache.get("forest", URL)
    assert None is cache.get("garden", URL)
    assert None is cache.get("forest", URL + "?")


def test_file_is_dropped_after_its_time() -> None:
    clock = Clock()
    cache = FetchCache(clock)
    cache.put("forest", URL, file())
    clock.now = CACHE_SECONDS - 0.1
    assert file() == cache.get("forest", URL)
    clock.now = CACHE_SECONDS
    assert None is cache.get("forest", URL)
    assert 0 == cache.size


def test_file_that_was_used_longest_ago_is_dropped_first() -> None:
    cache = FetchCache(Clock(), max_bytes=3 * ENTRY_BYTES)
    cache.put("forest", "a", file())
    cache.put("forest", "b", file())
    cache.get("forest", "a")
    cache.put("forest", "c", file())
    assert [True, False, True] == [cache.get("forest", url) is not None for url in "abc"]


def test_file_above_all_bytes_drops_no_other() -> None:
    cache = FetchCache(Clock(), max_bytes=2 * ENTRY_BYTES)
    cache.put("forest", "a", file())
    cache.put("forest", "b", file(bytes(2 * ENTRY_BYTES)))
    assert [True, False] == [cache.get("forest", url) is not None for url in "ab"]


def test_newer_file_replaces_the_older() -> None:
    cache = FetchCache(Clock())
    cache.put("forest", URL, file(b"old"))
    cache.put("forest", URL, file(b"new"))
    assert file(b"new") == cache.get("forest", URL)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3000), st.floats(0, 100))))
def test_size_is_that_of_the_entries_and_bounded(puts: list[tuple[str, int, float]]) -> None:
    clock = Clock()
    cache = FetchCache(clock, max_bytes=8000)
    for url, size, wait in puts:
        clock.now += wait
        cache.put("forest", url, file(bytes(size)))
        cache.get("forest", "a")
        assert 0 <= cache.size <= 8000
    clock.now += CACHE_SECONDS
    assert {None} == {cache.get("forest", url) for url in "abcd"}
    assert 0 == cache.size
