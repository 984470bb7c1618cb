"""Networks, from noisy images and a noise level to an answer; they import torch only, and diffusers where asked for."""
