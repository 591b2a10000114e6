"""Fuzz the compiling and rendering of chat templates. Run by `make fuzz`."""

from fuzz.harness import run

if __name__ == "__main__":
    run("chat_template")
