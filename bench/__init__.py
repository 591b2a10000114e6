"""Benchmarks: this server, llama.cpp's server and the bare decode loop, compared in one run on one model file."""
