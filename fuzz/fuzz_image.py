"""`make fuzz`: the decoder of images."""

from fuzz.harness import run

if __name__ == "__main__":
    run("image")
