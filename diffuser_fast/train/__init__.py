"""Training: the same Programs that engines run, with gradients for the weights."""
