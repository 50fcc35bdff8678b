"""Transposed convolutions of stride 2: one that CPUs compute as an ordinary one, one of 4x4.

CPUs vectorize transposed convolutions over output channels, of which an image has only one or
three. But the 2b x 2b output pixels over b x b input pixels depend on one window of the input. An
ordinary convolution of stride b computes them as channels, which are then rearranged into pixels
(Shi et al. 2016, section 3.2: the sub-pixel convolution).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# The ordinary convolution is faster up to these numbers of output channels: with gradients in
# float32, and without gradients or in bfloat16.
FEW_CHANNELS, MORE_CHANNELS = 8, 16


class SubPixelConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of stride 2 and an odd kernel, padded by half of the kernel.

    Parameters and, up to rounding, results are those of `torch.nn.ConvTranspose2d`, which is used
    for many channels, on other devices than CPUs, and where `transposes` is set, because
    `torch.vmap` cannot rearrange the channels of many models at once. n pixels become 2n - 1 and
    the output padding.
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
        """Return feature maps of about twice the height and width."""
        if output_size is not None or not self._is_faster(input):
            return super().forward(input, output_size)
        height, width = input.shape[2:]
        # A window extends as far after its block as before it, plus one pixel if the margin is odd.
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
        image = _blocks_to_pixels(blocks, 2 * self.block)
        return image[:, :, : rows + self.output_padding[0], : columns + self.output_padding[1]]

    def _is_faster(self, input: Tensor) -> bool:
        """Return whether the ordinary convolution is to be used, and faster."""
        if self.transposes or input.device.type != "cpu":
            return False
        in_bfloat16 = torch.is_autocast_enabled("cpu")
        differentiates = torch.is_grad_enabled() and (
            input.requires_grad or self.weight.requires_grad
        )
        is_slow = differentiates and not in_bfloat16
        return self.out_channels <= (FEW_CHANNELS if is_slow else MORE_CHANNELS)

    def _block_weight(self) -> Float[Tensor, "pixels_outputs inputs window window"]:
        # Pixel r of a block is a sum over pixels u of its window, with the weights
        # r + 2 (window - 1 - u) of the kernel after `front` zeros.
        front = self.margin % 2 + 2 * (self.block - 1)
        back = 2 * self.block - 1 - self.margin % 2
        kernel = functional.pad(self.weight, (front, back, front, back))
        taps = kernel.unfold(2, 2 * self.block, 2).unfold(3, 2 * self.block, 2).flip(2, 3)
        return taps.permute(4, 5, 1, 0, 2, 3).flatten(0, 2)


class EvenConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of stride 2 and a kernel of 4x4, to twice the size or one less.

    Each pixel is a sum over 2x2 pixels. An odd kernel gives some pixels more of them than their
    neighbors have: a checkerboard (Odena et al. 2016). The four pixels of a block start with equal
    weights, as in nearest-neighbor interpolation (Aitken et al. 2017), and the sums of their
    weights stay equal, so that even maps become even pixels, whatever the decoder is trained on.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)
        self.size = size
        with torch.no_grad():
            first = self.weight[:, :, ::2, ::2]
            self.weight.copy_(first.repeat_interleave(2, 2).repeat_interleave(2, 3))

    def forward(
        self,
        input: Float[Tensor, "batch inputs height width"],
        output_size: list[int] | None = None,
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """Return feature maps of `size`."""
        rows, columns = self.size
        images = functional.conv_transpose2d(input, self.even_weight(), self.bias, 2, 1)
        return images[..., :rows, :columns]

    def even_weight(self) -> Float[Tensor, "inputs outputs 4 4"]:
        """Return the weights that are used: those of each of the four pixels have the same sum."""
        # [input, output, row, pixel's row, column, pixel's column]
        weights = self.weight.reshape(*self.weight.shape[:2], 2, 2, 2, 2)
        sums = weights.sum((2, 4), keepdim=True)
        even: Tensor = weights - (sums - sums.mean((3, 5), keepdim=True)) / 4
        return even.reshape(self.weight.shape)


def _blocks_to_pixels(
    blocks: Float[Tensor, "batch pixels_outputs height width"], size: int
) -> Float[Tensor, "batch outputs rows columns"]:
    """Rearrange channels into blocks of `size` x `size` pixels."""
    batch, channels, height, width = blocks.shape
    outputs = channels // size**2
    pixels = blocks.permute(0, 2, 3, 1).reshape(batch, height, width, size, size, outputs)
    rows = pixels.transpose(2, 3).reshape(batch, height * size, width * size, outputs)
    return rows.permute(0, 3, 1, 2)
