"""Self-attention over the pixels of feature maps: Vaswani et al. 2017, section 3.2."""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Features = Float[Tensor, "batch channel height width"]
HEAD_WIDTH = 64


class Attention(nn.Module):
    """x + f(x), with f multi-head attention of normalized pixels to one another; f starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = math.gcd(channels, max(1, channels // HEAD_WIDTH))
        self.norm = nn.LayerNorm(channels)
        self.queries_keys_values = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Features) -> Features:
        """Return features plus what each pixel gathers from all."""
        pixels = features.permute(0, 2, 3, 1)
        numbers = self.queries_keys_values(self.norm(pixels)).flatten(1, 2)
        parts = numbers.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # softmax(q kᵀ / sqrt(width)) v, equation 1, for each head
        gathered = functional.scaled_dot_product_attention(*parts)
        outputs: Tensor = self.output(gathered.transpose(1, 2).flatten(2))
        return features + outputs.view(pixels.shape).permute(0, 3, 1, 2)
