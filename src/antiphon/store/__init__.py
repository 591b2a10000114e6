"""The database, SQLite or PostgreSQL: stored completions, projects, keys, limits and idempotency keys."""
