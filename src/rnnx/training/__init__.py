"""Training: what `fit` does, and the batches it takes."""
