"""What an answer must keep to, JSON Schemas, tools and grammars, as one grammar."""
