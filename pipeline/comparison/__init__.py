"""The comparison: objectives side by side, on the same data, networks, seeds and budget."""
