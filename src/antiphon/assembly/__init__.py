"""From token events to the message."""
