"""Tests of what only a GPU shows; `python -m tests.gpu` runs all, and benchmarks."""
