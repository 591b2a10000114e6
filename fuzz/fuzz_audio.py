"""`make fuzz`: the decoder of sounds."""

from fuzz.harness import run

if __name__ == "__main__":
    run("audio")
