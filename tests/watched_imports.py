"""A program that imports the modules of a package and prints the work of the package's own code as a JSON list.

The work of a library counts as the library's, not as the importing module's. Files of code do not count.
The last item is ``llama_cpp`` if the model library was imported.
"""

import importlib
import json
import sys
import sysconfig
import threading
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final

WORK: Final = ("open", "subprocess.Popen", "os.fork", "os.posix_spawn", "os.system")
"""Audit events of files and processes; the events of sockets begin with ``socket.``."""
CODE: Final = (".py", ".pyc", ".so")
OTHERS: Final = f"{sysconfig.get_path('purelib')}/"
STANDARD: Final = (f"{sysconfig.get_path('stdlib')}/", "<frozen ", __file__)


class Watch:
    """Notes the work that the code of one folder asks for."""

    def __init__(self, folder: Path) -> None:
        self.found: list[str] = []
        self._folder = folder

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Note an audit event of :data:`WORK`."""
        if event in WORK or event.startswith("socket."):
            path = str(arguments[0]) if event == "open" else ""
            if Path(path).suffix not in CODE and ".pyc." not in path:
                self.note(f"{event} {path}".strip())

    def note(self, work: str) -> None:
        """Note the work if the innermost code that is not the standard library's lies in the folder."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(OTHERS) or not file.startswith(STANDARD):
                if Path(file).is_relative_to(self._folder):
                    self.found.append(work)
                return
            frame = frame.f_back


class WatchedThread(threading.Thread):
    """A thread whose start is noted: there is no audit event for it."""

    watch: Watch

    def start(self) -> None:
        """Note the start, and start."""
        self.watch.note("threading.Thread.start")
        super().start()


def main(package: str, *names: str) -> None:
    """Import the modules ``names`` of a package."""
    spec = find_spec(package)
    assert spec is not None, package
    assert spec.origin is not None, package
    WatchedThread.watch = watch = Watch(Path(spec.origin).parent)
    threading.Thread = WatchedThread  # type: ignore[misc]
    sys.addaudithook(watch)
    for name in (package, *names):
        importlib.import_module(name)
    print(json.dumps([*watch.found, *(["llama_cpp"] if "llama_cpp" in sys.modules else [])]))  # noqa: T201 (a program)


if __name__ == "__main__":
    main(*sys.argv[1:])
