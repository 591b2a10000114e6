"""`make fuzz`: the parser of tool calls, in every notation."""

from fuzz.harness import run

if __name__ == "__main__":
    run("tool_parser")
