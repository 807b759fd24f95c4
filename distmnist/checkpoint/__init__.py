"""Checkpoints: format, manager, log rollback, inference."""
