"""Submits a training job to Kubernetes, and follows it until it ends."""
