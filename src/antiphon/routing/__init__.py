"""Which backends may answer a request, and which of them does."""
