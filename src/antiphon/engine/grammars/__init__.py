"""The grammars that constrain an answer, as the engine follows them."""
