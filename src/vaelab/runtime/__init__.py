"""Devices, memory, signals, locks, files and random streams: nothing here knows a VAE."""
