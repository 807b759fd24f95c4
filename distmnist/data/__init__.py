"""Data sets, the sampler and the input pipeline."""
