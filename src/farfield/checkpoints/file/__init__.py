"""What a foreign file holds, as plain data and tensors: nothing of it is imported, called or executed."""
