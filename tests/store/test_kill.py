"""Acknowledged writes survive a SIGKILL at random moments under eight writers."""

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from antiphon.store.completions import CompletionStore
from tests.databases import Site
from tests.store.rows import PROJECT

pytestmark = pytest.mark.anyio

ROUNDS = int(os.environ.get("ANTIPHON_TEST_KILLS", "4"))
ROOT = Path(__file__).parents[2]
WRITING = 0.6
"""Seconds that a process writes at most before it is killed."""


def write_and_die(site: Site, moment: float) -> list[str]:
    """Run the writers; kill them ``moment`` seconds after their first line; return the ids that they printed."""
    command = [sys.executable, "-m", "tests.store.writer", site.url or "", str(site.data_dir)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, bufsize=0)  # noqa: S603 (our own)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(moment)
    finally:
        process.kill()
        rest = process.communicate(timeout=30)[0]
    assert first, "the process wrote nothing"
    return (first + rest).decode().split()


async def test_two_processes_write_to_one_database(site: Site) -> None:
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda _: write_and_die(site, 1.0), range(2)))
    async with site.open() as database:
        assert [] == await database.check()
        for identifier in told[0] + told[1]:
            await CompletionStore(database).get(PROJECT, identifier)


async def test_every_acknowledged_answer_is_stored(site: Site, dialect: str) -> None:
    rounds = ROUNDS if dialect == "sqlite" else max(ROUNDS // 5, 1)  # PostgreSQL does not die with its client
    moments = random.Random(4)  # noqa: S311 (moments, no secrets)
    told: list[str] = []
    for _ in range(rounds):
        told += write_and_die(site, moments.random() * WRITING)
        async with site.open() as database:
            assert [] == await database.check()
    async with site.open() as database:
        store = CompletionStore(database)
        for identifier in told:
            stored = await store.get(PROJECT, identifier)
            assert ("changed" in stored.metadata) == (int(identifier.rpartition("-")[2]) % 2 == 0)
            assert 3 == len((await store.messages(PROJECT, identifier)).data)
    assert len(told) == len(set(told)) >= rounds
