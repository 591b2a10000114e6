"""Models in llama.cpp: weights, vocabularies and batches."""
