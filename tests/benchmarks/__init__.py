"""Benchmarks of distmnist, of comparable programs, and of the hardware limits."""
