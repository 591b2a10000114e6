"""Antiphon: a self-hosted server for the whole Chat Completions API."""

__version__ = "0.1.0"
