"""Tests of jobs on Kubernetes: see cluster.py for a real control plane."""
