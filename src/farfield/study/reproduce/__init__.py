"""The published experiments, each made of ordinary commands: what to run, and how its results are read beside the published."""
