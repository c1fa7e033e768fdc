"""Training: optimizers, the loop, the variants of a run, and worker processes."""
