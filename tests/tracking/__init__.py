"""Tests of the publication of runs to experiment trackers."""
