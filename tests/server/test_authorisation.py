"""Every route with a missing, invalid or revoked key, with a key without the scope, and with another project's key."""

from collections.abc import Iterator

import anyio
import httpx2
import pytest
from msgspec import Struct
from starlette.routing import Route

from antiphon.routing.router import Router
from antiphon.server.routes import Handlers
from antiphon.service import Service
from antiphon.store.completions import CompletionStore
from antiphon.store.keys import KeyStore
from tests.databases import Site
from tests.server.conftest import MODEL
from tests.server.storing import ORGANIZATION, StoringServer, storing
from tests.store.rows import OTHER, PROJECT, add_project, completion, messages

PUBLIC = {"/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"}
UPDATE = "/v1/chat/completions/{completion_id}"
BODIES = {
    "/v1/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/chat/completions/input_tokens": {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]},
    "/tokenize": {"content": "Hi"},
    "/detokenize": {"tokens": [72]},
    "/apply-template": {"messages": [{"role": "user", "content": "Hi"}]},
    UPDATE: {"metadata": {"a": "b"}},
}
MINE = "mine"


def walk() -> list[tuple[str, str]]:
    """Give every method and path that the server has, but those for everybody."""
    routes = [
        route for route in Handlers(Service(Router({})), stream_headers_after=5.0).routes() if route.path not in PUBLIC
    ]
    return sorted((method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"})


def test_the_walk_misses_no_route() -> None:
    routes: list[Route] = Handlers(Service(Router({})), stream_headers_after=5.0).routes()
    assert {path for _, path in walk()} | PUBLIC == {route.path for route in routes}
    assert 12 == len(walk())


class Keys(Struct, frozen=True):
    """The texts of keys by their kind."""

    good: str
    revoked: str
    read: str
    write: str
    other: str


async def prepare(site: Site) -> Keys:
    async with site.open() as database:
        await add_project(database)
        await CompletionStore(database).save(PROJECT, completion(MINE), messages(MINE))
        keys = KeyStore(database)
        revoked = await keys.create(PROJECT, "revoked")
        await keys.revoke(revoked.key.id)
        return Keys(
            good=(await keys.create(PROJECT, "good")).text,
            revoked=revoked.text,
            read=(await keys.create(PROJECT, "read", ["read"])).text,
            write=(await keys.create(PROJECT, "write", ["write"])).text,
            other=(await keys.create(OTHER, "other")).text,
        )


@pytest.fixture
def keys(site: Site) -> Keys:
    return anyio.run(prepare, site)


@pytest.fixture
def server(keys: Keys, site: Site) -> Iterator[StoringServer]:
    assert keys.good
    with storing(site) as server:
        yield server


def ask(server: StoringServer, method: str, path: str, key: str | None, **headers: str) -> httpx2.Response:
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    url = path.replace("{completion_id}", MINE).replace("{model:path}", MODEL)
    body = BODIES.get(path, BODIES[UPDATE]) if method == "POST" else None
    return server.http.request(method, url, headers=headers, json=body)


@pytest.mark.parametrize("which", ["none", "bad", "revoked"])
def test_without_a_key_that_works_every_route_is_a_401(server: StoringServer, keys: Keys, which: str) -> None:
    key = {"none": None, "bad": "sk-antiphon-" + "A" * 48, "revoked": keys.revoked}[which]
    for method, path in walk():
        answer = ask(server, method, path, key)
        error = answer.json()["error"]
        assert (401, "invalid_request_error", "invalid_api_key") == (answer.status_code, error["type"], error["code"])
    assert [] == server.engine.requests


def test_a_head_asks_for_a_key_as_a_get_does(server: StoringServer, keys: Keys) -> None:
    for method, path in walk():
        if method == "GET":
            answers = [ask(server, "HEAD", path, key).status_code for key in (None, keys.write, keys.good)]
            assert [401, 403, 200] == answers


def test_a_key_without_the_scope_is_a_403(server: StoringServer, keys: Keys) -> None:
    for method, path in walk():
        key = keys.write if method == "GET" else keys.read
        answer = ask(server, method, path, key)
        assert (403, "insufficient_permissions") == (answer.status_code, answer.json()["error"]["code"])
    assert [] == server.engine.requests


def test_a_key_with_the_scope_is_let_in(server: StoringServer, keys: Keys) -> None:
    ordered = sorted(walk(), key=lambda pair: pair[0] == "DELETE")
    assert {200} == {ask(server, method, path, keys.good).status_code for method, path in ordered}


def test_objects_of_another_project_are_404(server: StoringServer, keys: Keys) -> None:
    for method, path in walk():
        if "{completion_id}" not in path:
            continue
        theirs = ask(server, method, path, keys.other)
        absent = ask(server, method, path.replace("{completion_id}", "gone"), keys.other)
        assert [404, 404] == [theirs.status_code, absent.status_code]
        assert absent.json()["error"]["message"] == theirs.json()["error"]["message"].replace(MINE, "gone")
    assert [] == ask(server, "GET", "/v1/chat/completions", keys.other).json()["data"]
    assert MINE == ask(server, "GET", "/v1/chat/completions/{completion_id}", keys.good).json()["id"]


def test_another_project_s_completion_is_no_place_to_list_after(server: StoringServer, keys: Keys) -> None:
    headers = {"Authorization": f"Bearer {keys.other}"}
    answers = [
        server.http.get("/v1/chat/completions", params={"after": after}, headers=headers) for after in (MINE, "gone")
    ]
    assert [404, 404] == [answer.status_code for answer in answers]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"OpenAI-Organization": ORGANIZATION, "OpenAI-Project": PROJECT}, 200),
        ({"OpenAI-Organization": "org-else"}, 401),
        ({"OpenAI-Project": OTHER}, 401),
    ],
)
def test_the_headers_of_the_sdk_are_checked_against_the_key(
    server: StoringServer, keys: Keys, headers: dict[str, str], status: int
) -> None:
    assert status == ask(server, "GET", "/v1/models", keys.good, **headers).status_code


def test_prefixes_are_cached_for_each_project_alone(server: StoringServer, keys: Keys) -> None:
    for key in (keys.good, keys.other, keys.write):
        ask(server, "POST", "/v1/chat/completions", key)
    salts = [request.cache_salt for request in server.engine.requests]
    assert salts[0] == salts[2] != salts[1]


@pytest.mark.parametrize("path", sorted(PUBLIC))
def test_public_paths_need_no_key(server: StoringServer, path: str) -> None:
    assert 200 == server.http.get(path).status_code
