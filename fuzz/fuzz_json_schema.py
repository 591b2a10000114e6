"""`make fuzz`: the compiler of JSON Schemas."""

from fuzz.harness import run

if __name__ == "__main__":
    run("json_schema")
