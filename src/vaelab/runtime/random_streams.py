"""One seed, split into named streams that do not depend on one another."""

import hashlib

import torch


def rng_stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Give the generator of a seed's named stream, such as "noise", on a device."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
