"""Small faults, put one at a time into the modules whose errors are silent, for the tests to find: docs/mutants.md."""
