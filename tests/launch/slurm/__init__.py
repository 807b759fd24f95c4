"""Tests of jobs on Slurm: see site.py for a real site."""
