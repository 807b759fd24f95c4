"""Submits training jobs to clusters: one package for each kind of cluster.

The modules beside the packages are what they share.
"""
