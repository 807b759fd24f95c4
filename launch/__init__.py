"""Sets up and starts training; `launch.submit` submits it to a cluster."""
