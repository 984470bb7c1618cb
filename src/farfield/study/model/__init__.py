"""What is done with a model itself: train, generate, convert, inspect; and its data."""
