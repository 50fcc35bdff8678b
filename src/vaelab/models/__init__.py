"""Models: networks, distributions, likelihoods, priors, and how they are saved."""
