"""`make fuzz`: the decoder of requests."""

from fuzz.harness import run

if __name__ == "__main__":
    run("request_decoder")
