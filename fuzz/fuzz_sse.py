"""`make fuzz`: the decoder of event streams."""

from fuzz.harness import run

if __name__ == "__main__":
    run("sse")
