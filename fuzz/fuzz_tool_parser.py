"""Fuzz the parser of tool calls, in every notation. Run by `make fuzz`."""

from fuzz.harness import run

if __name__ == "__main__":
    run("tool_parser")
