"""What one does with a trained model: decode, sample, interpolate, traverse, edit."""
