"""The worker process: its loop, its steps and its scheduler."""
