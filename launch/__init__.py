"""Set-up of the environment, and one way to start jobs for each kind of cluster."""
