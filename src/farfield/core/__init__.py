"""What every room stands on: errors, artifacts on disk, devices, seeds and progress."""
