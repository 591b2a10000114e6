"""A process that stores completions until it is killed; run with a database's address (or none) and its folder.

Prints the id of every completion once ``save`` has returned, a line each, in one write that no kill can split.
"""

import asyncio
import os
import sys
from pathlib import Path

from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from tests.store.rows import PROJECT, completion, messages

WRITERS = 8


async def write(store: CompletionStore, writer: str) -> None:
    number = 0
    while True:
        number += 1
        identifier = f"{writer}-{number}"
        stored = completion(identifier, created=number, metadata={"writer": writer, "number": str(number)})
        await store.save(PROJECT, stored, messages(identifier, 3))
        if number % 2 == 0:
            await store.update_metadata(PROJECT, identifier, {"writer": writer, "changed": "yes"})
        os.write(1, f"{identifier}\n".encode())


async def main() -> None:
    database = await Database.open(sys.argv[1] or None, data_dir=Path(sys.argv[2]), busy_timeout=20)
    store = CompletionStore(database)
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(write(store, f"{os.getpid()}-{number}"))


if __name__ == "__main__":
    asyncio.run(main())
