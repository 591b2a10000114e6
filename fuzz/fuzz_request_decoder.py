"""Fuzz the request decoder. Run by `make fuzz`."""

from fuzz.harness import run

if __name__ == "__main__":
    run("request_decoder")
