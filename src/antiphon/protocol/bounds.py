"""How much of each thing a request may hold. docs/limits.md lists these bounds with those of the other layers.

Where the reference or its service has a bound it stands here; the others are far above what requests in use hold, so
that only a request made to cost its server time or memory meets them. Lengths of strings are in characters.
"""

from typing import Final

MAX_DEPTH: Final = 256
"""Levels of arrays and objects within one another in a body: a schema as deep as schemas may be needs 210."""

MAX_MESSAGES: Final = 2048
"""The reference service's."""
MAX_PARTS: Final = 2048
"""Parts of one message's content."""
MAX_ALL_PARTS: Final = 8192
"""Parts of all messages together."""
MAX_TOOL_CALLS: Final = 128
"""Calls of one message: as many as there can be tools. The reference service's."""
MAX_ANNOTATIONS: Final = 1024
"""Of one message."""
MAX_NAME: Final = 64
"""Of a participant. The reference service's."""
MAX_CALLED_NAME: Final = 256
"""Of a function in the history: models of other servers may have called what was never declared."""
MAX_ID: Final = 1024
"""Of a tool call: some servers keep more than a number in it."""

MAX_TOOLS: Final = 128
"""The reference's."""
MAX_TOOL_BYTES: Final = 1 << 20
"""All definitions of tools together, as JSON without blanks, with null for what is absent."""

MAX_MODEL: Final = 256
MAX_USER: Final = 512
MAX_SAFETY_IDENTIFIER: Final = 128
MAX_PROMPT_CACHE_KEY: Final = 1024
MAX_METADATA: Final = 16
"""Pairs. The reference's, and so are the lengths of both sides."""
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 512

MAX_N: Final = 128
"""Choices. The reference's."""
MAX_STOPS: Final = 4
"""The reference's."""
MAX_STOP: Final = 1024
"""Of one stop string: what may still become one is held back."""
MAX_LOGIT_BIAS: Final = 1 << 16
"""Tokens that are biased."""
MAX_TEMPLATE_NESTING: Final = 32
"""Levels of arrays and objects that ``chat_template_kwargs`` may have, so that whatever walks it can recurse."""
MAX_TEMPLATE_BYTES: Final = 1 << 16
"""Of ``chat_template_kwargs`` as JSON, which takes twenty times as much memory once it is read."""
