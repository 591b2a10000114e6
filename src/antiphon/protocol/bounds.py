"""The bounds of a request. docs/limits.md lists them together with the bounds of the other layers.

A bound of the reference or of its service is taken over. The others are far above real requests, so that they stop only
requests made to waste time or memory. Lengths of strings are in characters.
"""

from typing import Final

MAX_DEPTH: Final = 256
"""Levels of nested arrays and objects in a body. The deepest accepted schema needs 210."""

MAX_MESSAGES: Final = 2048
"""Messages of a request. The bound of the reference's service."""
MAX_PARTS: Final = 2048
"""Content parts of one message."""
MAX_ALL_PARTS: Final = 8192
"""Content parts of all messages together."""
MAX_TOOL_CALLS: Final = 128
"""Tool calls of one message, equal to the number of tools. The bound of the reference's service."""
MAX_ANNOTATIONS: Final = 1024
"""Annotations of one message."""
MAX_NAME: Final = 64
"""Characters of a participant's name. The bound of the reference's service."""
MAX_CALLED_NAME: Final = 256
"""Characters of a function's name in the history, which another server's model may have invented."""
MAX_ID: Final = 1024
"""Characters of a tool call's id. Some servers store more than a number in it."""

MAX_TOOLS: Final = 128
"""Tools of a request. The bound of the reference."""
MAX_TOOL_BYTES: Final = 1 << 20
"""Bytes of all tool definitions as JSON without whitespace, with null for absent fields."""

MAX_MODEL: Final = 256
MAX_USER: Final = 512
MAX_SAFETY_IDENTIFIER: Final = 128
MAX_PROMPT_CACHE_KEY: Final = 1024
MAX_CACHE_SALT: Final = 1024
"""Characters of ``cache_salt``."""
MAX_METADATA: Final = 16
"""Pairs of metadata. The reference has this bound and the next two, the lengths of keys and values."""
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 512

MAX_LOGPROBS: Final = 1024
"""Alternatives of a token that an operator can allow; the reference allows 20."""
MAX_N: Final = 128
"""Choices. The bound of the reference."""
MAX_STOPS: Final = 4
"""Stop strings. The bound of the reference."""
MAX_STOP: Final = 1024
"""Characters of one stop string. The server holds back text that may be the start of a stop string."""
MAX_STOP_TOKENS: Final = 1024
"""Tokens of ``stop_token_ids``."""
MAX_BREAKERS: Final = 64
"""Texts of ``dry_sequence_breakers``."""
MAX_BREAKER: Final = 40
"""Characters of one of them. llama.cpp's bound."""
MAX_CHOICES: Final = 1024
"""Texts of ``structured_outputs.choice``."""
MAX_CHOICE: Final = 1024
"""Characters of one of these texts."""
MAX_LOGIT_BIAS: Final = 1 << 16
"""Tokens with a bias."""
MAX_TEMPLATE_NESTING: Final = 32
"""Levels of nested arrays and objects in ``chat_template_kwargs``, few enough for recursive functions."""
MAX_TEMPLATE_BYTES: Final = 1 << 16
"""Bytes of ``chat_template_kwargs`` as JSON. The decoded value takes about twenty times as much memory."""
