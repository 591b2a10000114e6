"""A server with a database, which is opened and closed in the server's thread and event loop."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import httpx2
from msgspec import Struct
from openai import OpenAI
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.config import ServerOptions
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.service import Service
from antiphon.service.access import Access
from antiphon.service.storage import Storage
from antiphon.store.limits import UNLIMITED, Limits
from tests.backends.test_local_tokens import TOKENS
from tests.databases import Site
from tests.scripted_engine import ScriptedEngine, scripted_backend
from tests.server.conftest import MODEL, NO_TLS, WAIT, running

ORGANIZATION = "org-tests"


class StoringApp:
    """The application over a database; uvicorn's lifespan opens and closes it."""

    def __init__(
        self,
        site: Site,
        engine: ScriptedEngine,
        *,
        project: Limits = UNLIMITED,
        key: Limits = UNLIMITED,
        end_user: Limits = UNLIMITED,
        busy_timeout: float = 20.0,
    ) -> None:
        self.storage: Storage | None = None
        """Set while it runs."""
        self._busy_timeout = busy_timeout
        self._site = site
        self._engine = engine
        self._limits = (project, key, end_user)
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with AsyncExitStack() as stack:
                await receive()
                self._app = await self._open(stack)
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert self._app is not None
        await self._app(scope, receive, send)

    async def _open(self, stack: AsyncExitStack) -> ASGIApp:
        project, key, end_user = self._limits
        opening = Storage.open(
            self._site.url,
            self._site.data_dir,
            project_limits=project,
            key_limits=key,
            end_user_limits=end_user,
            busy_timeout=self._busy_timeout,
        )
        storage = self.storage = await stack.enter_async_context(opening)
        access = Access(storage.keys, organization=ORGANIZATION)
        service = Service(
            Router({MODEL: [scripted_backend(self._engine)]}), storage, access=access, tokens={MODEL: TOKENS}
        )
        return create_app(service, ServerOptions())


class StoringServer(Struct, frozen=True):
    """A running server and its client."""

    url: str
    port: int
    engine: ScriptedEngine
    http: httpx2.Client

    def sdk(self, api_key: str = "unused", *, max_retries: int = 0, **how: str | None) -> OpenAI:
        """Return the official client, to be closed by the test."""
        return OpenAI(
            base_url=f"{self.url}/v1",
            api_key=api_key,
            max_retries=max_retries,
            organization=how.get("organization"),
            project=how.get("project"),
            http_client=httpx2.Client(trust_env=False, timeout=WAIT, verify=NO_TLS),
        )


@contextmanager
def storing(
    site: Site,
    engine: ScriptedEngine | None = None,
    *,
    project: Limits = UNLIMITED,
    key: Limits = UNLIMITED,
    end_user: Limits = UNLIMITED,
) -> Iterator[StoringServer]:
    """Serve over the database until the block ends."""
    engine = engine or ScriptedEngine()
    with running(StoringApp(site, engine, project=project, key=key, end_user=end_user)) as port:
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, timeout=WAIT, trust_env=False, verify=NO_TLS) as http:
            yield StoringServer(url, port, engine, http)
