"""Requests, answers and events of the API, as frozen Structs."""
