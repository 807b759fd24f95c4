"""Tests of distmnist.distributed."""
