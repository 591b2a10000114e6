"""`make fuzz`: the compiler and renderer of chat templates."""

from fuzz.harness import run

if __name__ == "__main__":
    run("chat_template")
