"""`make fuzz`: users' texts with vocabularies that have tokens of every type."""

from fuzz.harness import run

if __name__ == "__main__":
    run("user_text")
