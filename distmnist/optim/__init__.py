"""Learning rate schedules and the Horovod-wrapped optimizer."""
