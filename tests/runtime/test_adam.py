"""The same steps as PyTorch's class, without the compiler that its first step imports."""

import subprocess
import sys

import torch
from torch import nn
from torch.nn import functional

from vaelab.runtime.adam import Adam


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ELU(), nn.Flatten(), nn.Linear(12, 1))
    return made.to(memory_format=torch.channels_last)


def test_weights_are_those_of_pytorchs_class() -> None:
    ours, theirs = network(), network()
    images, rates = torch.rand(5, 2, 4, 4), [1e-2, 1e-3, 3e-3]
    adam = Adam(ours.parameters(), betas=(0.8, 0.99))
    reference = torch.optim.Adam(theirs.parameters(), betas=(0.8, 0.99), fused=True)
    for rate in rates:
        adam.step(functional.mse_loss(ours(images), images[:, 0, 0, :1]), rate)
        reference.param_groups[0]["lr"] = rate
        reference.zero_grad()
        torch.autograd.backward(functional.mse_loss(theirs(images), images[:, 0, 0, :1]))
        reference.step()
    for own, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=0)


def test_a_step_imports_no_compiler() -> None:
    script = """
import sys, torch
from vaelab.runtime.adam import Adam
layer = torch.nn.Linear(2, 1)
before = set(sys.modules)
Adam(layer.parameters()).step(layer(torch.ones(1, 2)).sum(), 0.1)
print([name for name in set(sys.modules) - before if "dynamo" in name or "sympy" in name])
"""
    command = [sys.executable, "-c", script]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
