"""The worker's process: the loop, and what one step does."""
