"""A server over a scripted engine, to be killed: run with a database's address (or none), its folder and a port."""

import sys
from pathlib import Path

import uvicorn

from antiphon.server.http_protocol import HTTPProtocol
from tests.databases import Site
from tests.scripted_engine import ScriptedEngine
from tests.server.storing import StoringApp

if __name__ == "__main__":
    app = StoringApp(Site(sys.argv[1] or None, Path(sys.argv[2])), ScriptedEngine())
    port = int(sys.argv[3])
    uvicorn.run(app, host="127.0.0.1", port=port, http=HTTPProtocol, log_config=None, access_log=False, ws="none")
