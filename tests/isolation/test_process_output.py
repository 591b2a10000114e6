import os

import pytest

from antiphon.isolation.process_output import MAX_LINE, OUTPUT_LINES, ProcessOutput

pytestmark = pytest.mark.anyio


async def test_output_is_kept_line_by_line_in_any_chunking() -> None:
    ours, theirs = os.pipe()
    output = ProcessOutput(ours, 1, "line")
    try:
        for byte in "Größe\nzwei\n\ndrei".encode():
            os.write(theirs, bytes([byte]))
            output.read()
        assert ("Größe", "zwei", "drei") == output.last_lines
    finally:
        output.close()
        os.close(theirs)
        os.close(ours)


async def test_output_keeps_the_last_lines_and_splits_long_ones() -> None:
    ours, theirs = os.pipe()
    output = ProcessOutput(ours, 1, "line")
    try:
        os.write(theirs, b"x" * (MAX_LINE + 1) + b"\n")
        output.read()
        assert ("x" * (MAX_LINE + 1),) == output.last_lines
        os.write(theirs, b"y" * (2 * MAX_LINE + 1))
        output.read()
        assert ["y" * MAX_LINE, "y" * MAX_LINE, "y"] == list(output.last_lines)[1:]
        os.write(theirs, b"".join(b"%d\n" % number for number in range(100)))
        os.close(theirs)
        output.read()
        assert tuple(str(number) for number in range(100))[-OUTPUT_LINES:] == output.last_lines
    finally:
        output.close()
        os.close(ours)
