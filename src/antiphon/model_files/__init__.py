"""Finding, fetching and optimising model files."""
