"""Compare objectives on the same data, networks, seeds and number of epochs."""
