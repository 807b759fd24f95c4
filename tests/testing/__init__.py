"""Tests of distmnist.testing."""
