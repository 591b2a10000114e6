"""The KV cache: which cells hold which tokens, who shares them, and which are offloaded."""
