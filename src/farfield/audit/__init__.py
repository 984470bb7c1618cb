"""Features of images and what they say: distances between distributions, copies, duplicates."""
