"""What everything else rests on: configuration, errors, hooks, the run directory."""
