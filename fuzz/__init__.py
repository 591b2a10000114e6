"""Fuzzing: inputs that atheris makes up, and the small corpus of those that are worth keeping."""
