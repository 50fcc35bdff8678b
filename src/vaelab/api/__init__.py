"""The Python API: `vaelab.load`, `vaelab.train`, and the trained model that both return."""
