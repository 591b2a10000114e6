"""Faster copies of models, made and measured in a process of their own."""
