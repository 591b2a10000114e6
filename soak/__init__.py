"""`make soak`: a real server under random requests and random faults, every answer held to invariants."""
