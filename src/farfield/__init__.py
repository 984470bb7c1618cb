"""farfield: how far a diffusion model reaches beyond its training data, and how to put that reach to use."""

__version__ = "0.1.0"
