"""Process topology, collectives and what keeps a distributed job alive."""
