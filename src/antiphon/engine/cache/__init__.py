"""The KV cache: the cells of tokens, the prefixes that sequences share, and the copies in host memory."""
