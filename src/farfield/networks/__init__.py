"""Single-file networks; they import torch only."""
