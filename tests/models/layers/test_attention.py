"""Self-attention against a loop over pixels and heads."""

import math

import pytest
import torch
from torch import Tensor

from tests.oracles import randn
from vaelab.models.layers.attention import Attention


def slow(layer: Attention, features: Tensor) -> Tensor:
    """Compute attention pixel by pixel, from the definition."""
    channels, height, width = features.shape
    pixels = [features[:, row, column] for row in range(height) for column in range(width)]
    size = channels // layer.heads
    normed = [(p - p.mean()) / (p.var(correction=0) + layer.norm.eps).sqrt() for p in pixels]
    weight, bias = layer.queries_keys_values.weight, layer.queries_keys_values.bias
    numbers = [weight @ (n * layer.norm.weight + layer.norm.bias) + bias for n in normed]
    queries, keys, values = ([n.chunk(3)[part] for n in numbers] for part in range(3))
    outputs = []
    for query in queries:
        heads = []
        for head in range(layer.heads):
            own = slice(head * size, (head + 1) * size)
            scores = [(query[own] @ key[own]).item() / math.sqrt(size) for key in keys]
            weights = torch.tensor(scores, dtype=features.dtype).softmax(0)
            heads.append(sum(w * v[own] for w, v in zip(weights, values, strict=True)))
        outputs.append(layer.output.weight @ torch.cat(heads) + layer.output.bias)
    return features + torch.stack(outputs, 1).view(features.shape)


@pytest.mark.parametrize(("channels", "heads"), [(6, 1), (128, 2), (200, 1)])
@pytest.mark.parametrize("size", [(3, 4), (1, 1)], ids=str)
def test_it_is_the_definition(channels: int, heads: int, size: tuple[int, int]) -> None:
    layer = Attention(channels).double()
    assert layer.heads == heads
    for number, parameter in enumerate(layer.parameters()):
        parameter.data = randn(*parameter.shape, seed=number, dtype=torch.float64)
    features = randn(2, channels, *size, dtype=torch.float64)
    expected = torch.stack([slow(layer, one) for one in features])
    torch.testing.assert_close(layer(features), expected)
    flat = features.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(flat), expected)


def test_it_starts_as_the_identity() -> None:
    features = randn(2, 8, 3, 4)
    assert torch.equal(Attention(8)(features), features)
