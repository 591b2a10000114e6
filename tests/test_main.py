import subprocess
import sys

import antiphon


def test_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "antiphon", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (our own command)
    assert done.stdout == f"{antiphon.__version__}\n"
