"""From a request to what the engine decodes."""
