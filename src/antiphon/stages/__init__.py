"""What is done around an answer, whichever backend gives it."""
