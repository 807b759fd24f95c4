"""Tests of launch/ and k8s/."""
