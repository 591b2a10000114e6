"""The helpers of the official SDK for Node in loops: what they add to an answer comes back with the next request."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from tests.conformance.helper_server import CALLS, STRUCTURED, added, saying
from tests.conftest import ROOT

MODULES = ROOT / ".venv" / "node" / "node_modules"
"""``make test`` installs the SDK there if the machine has npm."""
SCRIPT = ROOT / "tests" / "conformance" / "node" / "helpers.cjs"
WAIT = 60.0
"""Seconds after which a helper is stopped."""
TURNS = 3

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="this machine has no node"),
    pytest.mark.skipif(not (MODULES / "openai").is_dir(), reason="the SDK for Node is not installed in .venv/node"),
]


def run(helper: str, texts: Sequence[str]) -> dict[str, Any]:
    """Run one helper against a model that says these texts; return the report of the script."""
    with saying(texts) as url:
        done = subprocess.run(  # noqa: S603 (our own script)
            [str(shutil.which("node")), str(SCRIPT), helper, url],
            env={"NODE_PATH": str(MODULES), "PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
            text=True,
            timeout=WAIT,
        )
    assert 0 == done.returncode, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("helper", ["parse a format", "stream a format"])
def test_structured_answers_are_sent_back_for_three_turns(helper: str) -> None:
    report = run(helper, [STRUCTURED] * TURNS)
    assert [{"city": "Rome"}] * TURNS == report["read"]
    assert ({"messages[].parsed"}, [None] * TURNS) == (added(report["bodies"]), report["ignored"])


@pytest.mark.parametrize("helper", ["parse calls", "stream calls"])
def test_calls_are_sent_back_with_their_results_for_three_turns(helper: str) -> None:
    report = run(helper, [CALLS] * TURNS)
    assert [{"city": "Rome"}, {"city": "Oslo"}] * TURNS == report["read"]
    expected = {"messages[].tool_calls[].function.parsed_arguments"}
    assert (expected, [None] * TURNS) == (added(report["bodies"]), report["ignored"])


@pytest.mark.parametrize("helper", ["run tools", "run tools in a stream"])
def test_tools_run_by_the_sdk_reach_the_final_answer_in_three_turns(helper: str) -> None:
    report = run(helper, [CALLS, CALLS, "Both are here."])
    assert ["Both are here."] == report["read"]
    assert (set(), [None] * TURNS) == (added(report["bodies"]), report["ignored"])
    assert ["user", "assistant", "tool", "tool", "assistant", "tool", "tool"] == [
        message["role"] for message in report["bodies"][-1]["messages"]
    ]
