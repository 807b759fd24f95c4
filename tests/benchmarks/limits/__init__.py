"""Hardware limits: the parts of a step that no program can avoid."""
