"""Routing: chooses the backends that may answer a request, and tries them in order."""
