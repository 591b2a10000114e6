"""Stages: they change a request before the backend gets it, and its answer before the client gets it."""
