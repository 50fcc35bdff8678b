"""Train, measure and understand variational autoencoders."""
