"""Independent random generators, named, from one seed."""

import hashlib

import torch


def rng_stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of a seed's named stream, such as "noise", on a device."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
