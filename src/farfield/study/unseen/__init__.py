"""Studies of the wing unseen, one file a command."""
