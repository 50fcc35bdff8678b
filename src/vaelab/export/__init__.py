"""A trained model for others: ONNX of its networks, and a card that says what it is."""
