"""A frozen model on a domain it never saw: invert, study the latents, sample new ones, decode."""
