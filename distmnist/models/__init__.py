"""The Network interface and the networks."""
