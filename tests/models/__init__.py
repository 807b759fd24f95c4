"""Tests of distmnist.models."""
