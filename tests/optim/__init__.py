"""Tests of distmnist.optim."""
