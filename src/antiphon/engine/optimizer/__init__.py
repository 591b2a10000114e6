"""Faster copies of models, written and measured in their own process."""
