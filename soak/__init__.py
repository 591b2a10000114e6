"""`make soak`: sends random requests to a real server, injects faults, and checks every answer against invariants."""
