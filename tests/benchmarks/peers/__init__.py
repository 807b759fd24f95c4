"""Alternatives to distmnist, with the same network, batch size and data."""
