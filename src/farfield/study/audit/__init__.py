"""Studies of the wing audit, one file a command."""
