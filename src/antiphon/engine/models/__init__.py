"""Model files as llama.cpp runs them: weights, vocabulary, batches."""
