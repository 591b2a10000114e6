"""Fuzz the texts of users against vocabularies with tokens of every type. Run by `make fuzz`."""

from fuzz.harness import run

if __name__ == "__main__":
    run("user_text")
