"""`python -m farfield`, which torchrun and accelerate need."""

from farfield.cli import main

main()
