"""Faults of every kind, at every point: `python -m tests.faults`."""
