"""Fuzz the decoder of event streams. Run by `make fuzz`."""

from fuzz.harness import run

if __name__ == "__main__":
    run("sse")
