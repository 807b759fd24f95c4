"""Sweeps: what is varied, the trials, and what they have shown."""
