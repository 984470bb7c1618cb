"""Studies of the wing manifold, one file a command."""
