"""Tests of distmnist.reporting."""
