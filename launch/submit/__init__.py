"""Implementation of launch/submit_k8s, which submits and follows training jobs."""
