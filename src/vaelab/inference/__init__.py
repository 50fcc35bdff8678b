"""Using a trained model: encode, decode, sample, interpolate, traverse, edit attributes."""
