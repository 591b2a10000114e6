"""Token ids in, token ids out: continuous batching over llama.cpp, in a process of its own."""
