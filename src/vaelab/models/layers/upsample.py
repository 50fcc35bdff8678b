"""Doubling height and width: a transposed convolution that CPUs compute as an ordinary one.

A transposed convolution fills a processor's registers with output channels, and an image has one
or three. But the 2b x 2b output pixels that lie over b x b input pixels depend on one window of
the input: they are channels of an ordinary convolution of stride b, laid out side by side
afterwards (Shi et al. 2016, section 3.2: the sub-pixel convolution).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Output channels up to which the ordinary convolution is faster, in training as well.
FEW_CHANNELS = 8


class SubPixelConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of stride 2 and an odd kernel, padded by half of it.

    Parameters and, within rounding, results are those of `torch.nn.ConvTranspose2d`, which
    devices other than CPUs run, and any if `transposes` is set: `torch.vmap` cannot lay out the
    channels of many models at once. Turns n pixels into 2n - 1 and the output padding.
    """

    transposes = False

    def __init__(
        self, inputs: int, outputs: int, kernel: int, output_padding: tuple[int, int]
    ) -> None:
        super().__init__(
            inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=output_padding
        )
        self.margin = kernel // 2
        # One output channel makes 16 at b = 2, as many as a register of 512 bits holds.
        self.block = 2 if outputs == 1 else 1

    def forward(
        self,
        input: Float[Tensor, "batch inputs height width"],
        output_size: list[int] | None = None,
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """Enlarge feature maps."""
        if self.transposes or input.device.type != "cpu" or output_size is not None:
            return super().forward(input, output_size)
        height, width = input.shape[2:]
        # A window reaches as far behind its block as before it, or one pixel more: an odd margin.
        after = [self.margin % 2 + size % self.block for size in (width, height)]
        padded = functional.pad(input, (0, after[0], 0, after[1])) if any(after) else input
        assert self.bias is not None
        blocks = functional.conv2d(
            padded.contiguous(memory_format=torch.channels_last),
            self._block_weight(),
            self.bias.repeat(4 * self.block**2),
            stride=self.block,
            padding=self.margin // 2,
        )
        rows, columns = 2 * height - 1, 2 * width - 1
        image = _side_by_side(blocks, 2 * self.block)
        return image[:, :, : rows + self.output_padding[0], : columns + self.output_padding[1]]

    def _block_weight(self) -> Float[Tensor, "pixels_outputs inputs window window"]:
        # Pixel r of a block takes tap r + 2 (window - 1 - u) of the kernel, `front` zeros put
        # before it, from pixel u of the block's window.
        front = self.margin % 2 + 2 * (self.block - 1)
        back = 2 * self.block - 1 - self.margin % 2
        kernel = functional.pad(self.weight, (front, back, front, back))
        taps = kernel.unfold(2, 2 * self.block, 2).unfold(3, 2 * self.block, 2).flip(2, 3)
        return taps.permute(4, 5, 1, 0, 2, 3).flatten(0, 2)


def _side_by_side(
    blocks: Float[Tensor, "batch pixels_outputs height width"], size: int
) -> Float[Tensor, "batch outputs rows columns"]:
    """Lay blocks of `size` x `size` pixels out as one image."""
    batch, channels, height, width = blocks.shape
    outputs = channels // size**2
    pixels = blocks.permute(0, 2, 3, 1).reshape(batch, height, width, size, size, outputs)
    rows = pixels.transpose(2, 3).reshape(batch, height * size, width * size, outputs)
    return rows.permute(0, 3, 1, 2)
