"""The notations of tool calls and reasoning of each model family, as data."""
