"""Submission to Slurm, as launch/submit_slurm."""
