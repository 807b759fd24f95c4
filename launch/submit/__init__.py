"""The parts of launch/submit_k8s: submits a training job to a cluster, follows it."""
