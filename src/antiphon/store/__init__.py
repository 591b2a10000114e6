"""What is kept: stored completions, projects, keys, limits and repeated requests, in SQLite or PostgreSQL."""
