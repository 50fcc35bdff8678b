"""Networks of every family, for images of any shape, and the model around them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.oracles import gaussian_posterior, layer, rand, randn
from vaelab.config import ModelSettings, network_names
from vaelab.models.distributions import Bernoulli
from vaelab.models.layers.attention import Attention
from vaelab.models.layers.upsample import (
    MORE_CHANNELS,
    EvenConvTranspose2d,
    SubPixelConvTranspose2d,
)
from vaelab.models.model import Model, build_model
from vaelab.models.networks import level_sizes
from vaelab.models.networks.resnet import Block
from vaelab.runtime.random_streams import rng_stream

FAMILIES = network_names()
ATTENTION: dict[str, Any] = {"networks": {"resnet": {"attention": True}}}
EVEN: dict[str, Any] = {"networks": {"conv": {"even_kernels": True}}}
# Each family, and what small images do not have by default
KINDS = [*((name, {}) for name in FAMILIES), ("resnet", ATTENTION), ("conv", EVEN)]
SHAPES = [(1, 8, 8), (1, 28, 28), (1, 28, 20), (3, 32, 32), (3, 64, 64), (1, 5, 7), (2, 1, 1)]


def build(network: str, shape: tuple[int, int, int], seed: int = 0, **settings: object) -> Model:
    small = {"network": network, "latent_dim": 3, "channels": [4, 6], "hidden": [8]} | settings
    return build_model(ModelSettings.model_validate(small), shape, seed=seed)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("network", "own"), KINDS)
def test_images_of_any_shape_are_encoded_and_decoded(network, own, shape):
    model = build(network, shape, likelihood="discretized_logistic", **own)
    images = rand(2, *shape)
    posterior = gaussian_posterior(model, images)
    assert posterior.mean.shape == posterior.stddev.shape == (2, 3)
    pixels = model.decode(posterior.mean)
    assert pixels.mean.shape == (2, *shape)
    assert pixels.log_prob(images).isfinite().all()


@pytest.mark.parametrize("network", ["conv", "resnet"])
@pytest.mark.parametrize("levels", [1, 3, 6])
def test_any_number_of_levels_fits_any_size(network, levels):
    model = build(network, (1, 5, 7), channels=[2] * levels)
    images = rand(2, 1, 5, 7)
    assert model.decode(model.encode(images).mean).mean.shape == images.shape


def test_level_sizes_halve_and_round_up():
    assert level_sizes((1, 28, 5), 4) == [(28, 5), (14, 3), (7, 2), (4, 1), (2, 1)]


@pytest.mark.parametrize(("network", "own"), KINDS)
def test_an_image_does_not_depend_on_others_of_the_batch(network, own):
    for training in (True, False):
        model = build(network, (2, 9, 6), likelihood="bernoulli", **own).train(training)
        images = rand(3, 2, 9, 6).requires_grad_()
        posterior = gaussian_posterior(model, images)
        pixels = model.decode(posterior.mean)
        total = pixels.mean[1].sum() + posterior.stddev[1].sum()
        (gradient,) = torch.autograd.grad(total, images)
        assert gradient[1].abs().sum() > 0
        assert gradient[[0, 2]].eq(0).all()
        alone = model.encode(images[1:2])
        torch.testing.assert_close(alone.mean, posterior.mean[1:2])


@pytest.mark.parametrize("network", FAMILIES)
def test_the_seed_fixes_the_weights(network):
    first, same, other = (build(network, (1, 8, 8), seed=seed) for seed in (1, 1, 2))

    def weights(model: Model) -> Tensor:
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    assert torch.equal(weights(first), weights(same))
    assert not torch.equal(weights(first), weights(other))


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    build("conv", (1, 8, 8))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("network", FAMILIES)
def test_leading_dimensions_are_kept(network):
    model = build(network, (1, 5, 7), likelihood="bernoulli")
    latents = torch.randn(4, 2, 3, generator=rng_stream(0, "latents"))
    pixels = model.decode(latents)
    assert pixels.mean.shape == (4, 2, 1, 5, 7)
    torch.testing.assert_close(pixels.mean[3], model.decode(latents[3]).mean)
    images = rand(4, 2, 1, 5, 7)
    torch.testing.assert_close(model.encode(images).mean[3], model.encode(images[3]).mean)


def transposed(upsample: SubPixelConvTranspose2d) -> nn.ConvTranspose2d:
    """Return the equivalent transposed convolution, with the same parameters."""
    inputs, outputs, kernel, _ = upsample.weight.shape
    rows, columns = upsample.output_padding
    plain = nn.ConvTranspose2d(inputs, outputs, kernel, 2, kernel // 2, (rows, columns))
    plain.load_state_dict(upsample.state_dict())
    return plain.to(upsample.weight.dtype)


@pytest.mark.parametrize("output_padding", [(0, 0), (1, 1), (0, 1), (1, 0)], ids=str)
@pytest.mark.parametrize("size", [(7, 7), (4, 8), (1, 5), (2, 1), (6, 3)], ids=str)
@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("outputs", [1, 3])
def test_upsampling_is_the_transposed_convolution(outputs, kernel, size, output_padding):
    upsample = SubPixelConvTranspose2d(2, outputs, kernel, output_padding).double()
    features = randn(2, 2, *size, dtype=torch.float64).requires_grad_()
    results = []
    for module in (upsample, transposed(upsample)):
        image = module(features)
        # A different weight for each pixel, so that gradients differ between pixels
        loss = (image * randn(*image.shape, seed=1, dtype=torch.float64)).sum()
        results.append((image, *torch.autograd.grad(loss, [features, *module.parameters()])))
    assert results[0][0].shape[2:] == tuple(
        2 * n - 1 + extra for n, extra in zip(size, output_padding, strict=True)
    )
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 5, 7), (3, 9, 4)], ids=str)
def test_saved_weights_work_in_transposed_convolutions(shape):
    model = build("conv", shape, likelihood="bernoulli")
    latents = torch.randn(5, 3, generator=rng_stream(0, "latents"))
    found = model.decode(latents).mean
    decoder = model.networks["decoder"]
    assert isinstance(decoder, nn.Sequential)
    assert isinstance(decoder[-1], SubPixelConvTranspose2d)
    for index, module in enumerate(decoder):
        if isinstance(module, SubPixelConvTranspose2d):
            decoder[index] = transposed(module)
    torch.testing.assert_close(found, model.decode(latents).mean)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_upsampling_to_more_channels_is_the_transposed_convolution(precision):
    upsample = SubPixelConvTranspose2d(4, MORE_CHANNELS, 5, (1, 1))
    features = randn(2, 4, 7, 7)
    expected = transposed(upsample)(features)
    with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
        differentiated = upsample(features)
        with torch.no_grad():
            found = upsample(features)
    atol = 1e-5 if precision == torch.float32 else 2e-2
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=atol)
    torch.testing.assert_close(differentiated.float(), expected, rtol=0, atol=atol)
    # In float32 the transposed convolution itself is differentiated.
    assert torch.equal(differentiated, expected) == (precision == torch.float32)
    assert not torch.equal(found, expected)


def test_a_residual_block_starts_as_the_identity():
    features = torch.randn(2, 3, 4, 4, generator=rng_stream(0, "features"))
    assert torch.equal(Block(3, torch.nn.ReLU)(features), features)


@pytest.mark.parametrize("even", [True, False])
def test_even_kernels_make_equal_pixels_of_equal_pixels(even):
    model = build("conv", (3, 16, 16), networks={"conv": {"even_kernels": even}})
    decoder = model.networks["decoder"]
    assert isinstance(decoder, nn.Sequential)
    for weights in decoder.parameters():  # as training may leave them
        nn.init.normal_(weights, generator=rng_stream(0, "weights"))
    image = nn.Sequential(*decoder[2:])(torch.ones(1, 6, 4, 4))[..., 4:-4, 4:-4]
    assert bool((image - image[..., :1, :1]).abs().max() < 1e-5 * image.abs().max()) == even


def test_large_images_have_even_kernels_unless_channels_are_listed():
    def kinds(**settings: object) -> set[type]:
        model = build_model(ModelSettings.model_validate({"latent_dim": 2} | settings), (3, 40, 40))
        return {type(module) for module in model.networks["decoder"].modules()}

    assert EvenConvTranspose2d in kinds()
    assert not kinds() & {nn.ConvTranspose2d, SubPixelConvTranspose2d}
    assert EvenConvTranspose2d not in kinds(networks={"conv": {"even_kernels": False}})
    assert EvenConvTranspose2d not in kinds(channels=[2, 3])


@pytest.mark.parametrize("size", [(6, 8), (5, 8), (6, 7), (5, 7), (1, 2)], ids=str)
def test_an_even_kernel_starts_as_an_enlargement_and_a_sum(size):
    """Against the nearest-neighbor interpolation of pixels, each of which gets half of 2x2."""
    layer = EvenConvTranspose2d(2, 3, size).double()
    small = [(length + 1) // 2 for length in size]
    features = randn(2, 2, *small, dtype=torch.float64)
    found = layer(features)
    assert found.shape == (2, 3, *size)
    taps = layer.weight[:, :, ::2, ::2].detach()
    assert layer.bias is not None
    # Pixel p is a sum over inputs p // 2 and its neighbor on the side of p, of one tap each
    padded = functional.pad(features, (1, 1, 1, 1))
    for row in range(size[0]):
        for column in range(size[1]):
            top, left = (row + 1) // 2, (column + 1) // 2
            window = padded[:, :, top : top + 2, left : left + 2].flip(2, 3)
            expected = torch.einsum("bihw,iohw->bo", window, taps) + layer.bias
            torch.testing.assert_close(found[:, :, row, column], expected)


@pytest.mark.parametrize(("side", "count"), [(64, 4), (16, 6), (65, 2)])
def test_attention_is_at_16_pixels_and_below(side, count):
    """In the encoder after each level, in the decoder before."""
    model = build("resnet", (1, side, side), channels=[4] * 3, **ATTENTION)
    found = [module for module in model.modules() if isinstance(module, Attention)]
    assert len(found) == count
    assert not any(isinstance(m, Attention) for m in build("resnet", (1, 8, 8)).modules())


def test_convolutions_have_the_blogs_sizes():
    model = build_model(ModelSettings(latent_dim=20), (1, 28, 28))
    shapes = [tuple(weight.shape) for weight in model.parameters() if weight.dim() > 1]
    # 16 and 32 filters of 5x5, 28 -> 14 -> 7 pixels, mean and stddev of 20 latents; and back
    encoder = [(16, 1, 5, 5), (32, 16, 5, 5), (40, 32 * 7 * 7)]
    decoder = [(32 * 7 * 7, 20), (32, 16, 5, 5), (16, 1, 5, 5)]
    assert shapes == encoder + decoder


@pytest.mark.parametrize("raw", [-1e4, -20.0, 0.0, 1e4])
def test_standard_deviations_stay_positive_and_kl_finite(raw):
    model = build("mlp", (1, 2, 2), hidden=[])
    last = layer(model, "encoder")
    torch.nn.init.constant_(last.bias[3:].data, raw)
    torch.nn.init.zeros_(last.weight.data)
    posterior = gaussian_posterior(model, rand(1, 1, 2, 2))
    assert (posterior.stddev > 0).all()
    assert posterior.kl().isfinite().all()
    if raw == 0:
        torch.testing.assert_close(posterior.stddev, torch.ones(1, 3))


def test_low_precision_is_for_networks_only():
    model = build("conv", (1, 8, 8), likelihood="bernoulli")
    images = rand(2, 1, 8, 8)
    exact = gaussian_posterior(model, images)
    model.precision = torch.bfloat16
    low = gaussian_posterior(model, images)
    pixels = model.decode(low.mean)
    assert isinstance(pixels, Bernoulli)
    assert low.mean.dtype == low.stddev.dtype == pixels.logits.dtype == torch.float32
    # bfloat16 keeps 8 bits: 2^-8 of inputs, weights and sums of order 1
    torch.testing.assert_close(low.mean, exact.mean, rtol=0, atol=0.03)
    assert not torch.equal(low.mean, exact.mean)


def test_the_prior_is_standard_normal():
    drawn = build("mlp", (1, 2, 2)).prior(5_000, rng_stream(0, "test"))
    assert drawn.shape == (5_000, 3)
    # 6 standard errors of a mean, 1 / sqrt(n), and of a variance, sqrt(2 / n)
    assert drawn.mean(0).abs().max() < 6 * 5_000**-0.5
    assert (drawn.var(0) - 1).abs().max() < 6 * (2 / 5_000) ** 0.5


def test_only_the_named_networks_are_built():
    model = build_model(ModelSettings(network="mlp"), (1, 2, 2), ["decoder", "discriminator"])
    assert [model.has(name) for name in ("encoder", "decoder", "discriminator")] == [
        False,
        True,
        True,
    ]
