"""Overlap of communication and the backward pass, on hosts with a slow network."""
