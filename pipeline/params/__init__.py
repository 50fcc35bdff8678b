"""params.yaml: changes of its text, and recipes."""
