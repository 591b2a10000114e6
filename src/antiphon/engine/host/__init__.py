"""The engine's client: starts the worker's process, keeps it alive and exchanges messages with it."""
