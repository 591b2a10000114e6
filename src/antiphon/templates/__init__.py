"""Chat templates: what a model's own template can do, and rendering it."""
