"""Assembly of messages from token events."""
