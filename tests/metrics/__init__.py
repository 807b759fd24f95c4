"""Tests of distmnist.metrics."""
