"""Mutation testing: puts small faults into modules, one at a time, and runs their tests. See docs/mutants.md."""
