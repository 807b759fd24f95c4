"""Tests of distmnist.data."""
