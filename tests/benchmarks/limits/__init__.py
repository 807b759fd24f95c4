"""What the machine allows: the parts of a step that no program can do without."""
