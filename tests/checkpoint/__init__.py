"""Tests of distmnist.checkpoint."""
