"""The engine's client: it starts the worker's process, keeps it alive and speaks with it."""
