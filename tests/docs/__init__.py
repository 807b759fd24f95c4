"""README and docs: their commands, their links, and the site."""
