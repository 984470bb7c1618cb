"""What all studies share: the run folder, how a model is run, the domain, its measures."""
