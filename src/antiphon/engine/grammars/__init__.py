"""The grammars that constrain answers."""
