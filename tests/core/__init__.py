"""Tests of distmnist.core."""
