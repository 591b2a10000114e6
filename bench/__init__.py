"""Measurements as ratios from one run: this server, llama.cpp's own server, and the bare decode loop, on one file."""
