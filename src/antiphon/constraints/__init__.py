"""The constraints on an answer (JSON Schema, tools, custom grammars) as one grammar."""
