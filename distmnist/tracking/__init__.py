"""Publishes the metrics of runs to experiment trackers: MLflow, Weights & Biases."""
