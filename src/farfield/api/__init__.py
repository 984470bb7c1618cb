"""farfield from Python: a function for every command, derived from its declaration, and a few small ones beside them."""
