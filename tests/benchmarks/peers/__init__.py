"""What else a user could pick: the same network, batch and data."""
