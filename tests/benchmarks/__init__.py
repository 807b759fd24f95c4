"""How fast distmnist is, beside its peers and the limits of the machine."""
