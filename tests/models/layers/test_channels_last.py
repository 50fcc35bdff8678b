"""Flattening and unflattening layers equal PyTorch's own layers with the same weights."""

import pytest
import torch
from torch import nn

from vaelab.models.layers.channels_last import flatten_head, unflatten_stem

SHAPE = (3, 4, 5)


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last])
def features(request):
    return torch.randn(7, *SHAPE).to(memory_format=request.param).requires_grad_()


def test_flatten_head_is_flatten_and_linear(features):
    ours = nn.Sequential(*flatten_head(SHAPE, 6))
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(60, 6))
    theirs.load_state_dict(ours.state_dict())
    same(ours, theirs, features)


def test_unflatten_stem_is_linear_and_unflatten():
    ours = nn.Sequential(*unflatten_stem(6, SHAPE))
    theirs = nn.Sequential(nn.Linear(6, 60), nn.Unflatten(1, SHAPE))
    theirs.load_state_dict(ours.state_dict())
    same(ours, theirs, torch.randn(7, 6, requires_grad=True))


def test_features_are_in_channels_last_format():
    made = nn.Sequential(*unflatten_stem(6, SHAPE))(torch.randn(7, 6))
    assert made.is_contiguous(memory_format=torch.channels_last)


def same(ours: nn.Module, theirs: nn.Module, inputs: torch.Tensor) -> None:
    """Compare outputs, and gradients by inputs and parameters."""
    found, expected = ours(inputs), theirs(inputs)
    assert torch.allclose(found, expected, atol=1e-6)
    pull = torch.randn(found.shape)
    found = torch.autograd.grad((found * pull).sum(), [inputs, *ours.parameters()])
    expected = torch.autograd.grad((expected * pull).sum(), [inputs, *theirs.parameters()])
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
