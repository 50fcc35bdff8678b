"""The study's parts; pipeline/tune.py is its command."""
