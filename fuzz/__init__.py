"""Fuzzing with atheris, and a small corpus of inputs."""
