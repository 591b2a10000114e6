"""Fuzz the compiling of JSON Schemas. Run by `make fuzz`."""

from fuzz.harness import run

if __name__ == "__main__":
    run("json_schema")
