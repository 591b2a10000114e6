"""Backends: each answers requests, with an engine on this machine or through another server."""
