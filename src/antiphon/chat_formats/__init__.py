"""How a model family writes tools and reasoning, as data."""
