"""Each image is changed by itself, as it was drawn, with its missing pixels, and never binary."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from vaelab.config import TrainSettings, UserError, parse_settings
from vaelab.data.augmentation import DRAWS, augment, draw_uniforms, is_augmenting
from vaelab.data.loader import ImageLoader
from vaelab.runtime.random_streams import rng_stream

CPU = torch.device("cpu")
COUNT = 600


def noise_images(count: int = COUNT, channels: int = 3, size: int = 8) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, channels, size, size + 2), np.uint8))


def chosen(**own: float) -> TrainSettings:
    return TrainSettings.model_validate({f"augment_{name}": value for name, value in own.items()})


def changed(images: Tensor, channels: int | None = None, **own: float) -> Tensor:
    return augment(images, draw_uniforms(0, 0, 0, len(images)), chosen(**own), channels)


def test_nothing_is_on_unless_set() -> None:
    assert not is_augmenting(TrainSettings())
    assert is_augmenting(chosen(flip=0.5))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_share_of_the_images_is_mirrored(share: float) -> None:
    images = noise_images()
    flipped = changed(images, flip=share)
    is_mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) ^ is_mirrored).all()
    # 6 standard errors of a share
    tolerance = 6 * (share * (1 - share) / COUNT) ** 0.5
    assert is_mirrored.double().mean() == pytest.approx(share, abs=tolerance)


def test_a_shift_is_a_window_of_the_image_that_goes_on_mirrored() -> None:
    images = noise_images()
    found = set()
    for before, after in zip(images, changed(images, shift=0.25), strict=True):
        padded = np.pad(before.numpy(), ((0, 0), (2, 2), (2, 2)), mode="reflect")
        windows = {
            (row - 2, column - 2): padded[:, row : row + 8, column : column + 10]
            for row in range(5)
            for column in range(5)
        }
        equal = [shift for shift, window in windows.items() if np.array_equal(window, after)]
        assert len(equal) == 1
        found.update(equal)
    # 0.25 of 8 and of 10 pixels, rounded to even: up to 2 either way
    assert len(found) == 25


def test_a_crop_is_enlarged_as_interpolation_does() -> None:
    images = noise_images(4, size=8)
    uniforms = torch.full((4, DRAWS), 0.5)
    uniforms[:, 3] = 1  # the smallest crop: half of the sides, from the middle
    found = augment(images, uniforms, chosen(zoom=0.5))
    expected = torch.nn.functional.interpolate(
        images.float(), scale_factor=2, mode="bilinear", align_corners=False
    )[:, :, 4:12, 5:15]
    assert (found.float() - expected).abs().max() <= 0.5 + 1e-3


def test_a_crop_lies_within_the_image_and_has_its_aspect_ratio() -> None:
    """On a ramp, the slope is the size of the crop, and the ends are those of the image at most."""
    ramp = torch.linspace(0, 255, 64).round().to(torch.uint8)
    images = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)])
    found = changed(images.expand(COUNT, 2, 64, 64), zoom=0.4).float()
    across, down = found[:, 0, 32], found[:, 1, :, 32]
    sizes = (across[:, -8] - across[:, 7]) / 255 * 63 / 48
    assert sizes.min() == pytest.approx(0.6, abs=0.03)
    assert sizes.max() == pytest.approx(1, abs=0.03)
    assert torch.allclose(sizes, (down[:, -8] - down[:, 7]) / 255 * 63 / 48, atol=0.03)
    assert across[:, 0].min() < 5 < 60 < across[:, 0].max() < 0.4 * 255 + 5


@pytest.mark.parametrize("channels", [1, 3])
def test_colors_are_jittered_as_torchvision_does(channels: int) -> None:
    images = noise_images(20, channels)
    uniforms = draw_uniforms(0, 0, 0, 20)
    found = augment(images, uniforms, chosen(color=0.5)).float()
    for before, after, draws in zip(images, found, uniforms, strict=True):
        expected = before.float() / 255
        brightness, contrast, saturation = (0.5 + draws[-3:]).tolist()
        expected = torchvision.adjust_brightness(expected, brightness)
        expected = torchvision.adjust_contrast(expected, contrast)
        if channels == 3:
            expected = torchvision.adjust_saturation(expected, saturation)
        # torchvision has 0.2989 for 0.299, and this has 8 bits
        assert (after - 255 * expected).abs().max() < 0.6


def test_a_mask_moves_with_its_image() -> None:
    images = noise_images().clamp_min(1)
    missing = noise_images(COUNT, 3) < 40
    stored = torch.cat([images.masked_fill(missing, 0), missing.to(torch.uint8)], 1)
    pixels, mask = changed(stored, 3, flip=0.5, shift=0.3).chunk(2, 1)
    assert torch.equal(pixels == 0, mask.bool())


@pytest.mark.parametrize("own", [{"zoom": 0.5}, {"color": 0.0001}, {"zoom": 0.5, "shift": 0.2}])
def test_what_is_missing_does_not_leak_into_its_neighbors(own: dict[str, float]) -> None:
    images, missing = np.full((COUNT, 1, 8, 8), 200, np.uint8), np.zeros((COUNT, 1, 8, 8), bool)
    missing[:, 0, 3:5, 2:5] = True
    loader = ImageLoader(images, CPU, missing=missing)
    transform = partial(
        augment, uniforms=draw_uniforms(0, 0, 0, COUNT), settings=chosen(**own), channels=1
    )
    (batch,) = loader.batches_at([torch.arange(COUNT)], [rng_stream(0, "noise")], [transform])
    gaps = batch.images.isnan()
    assert gaps.any()
    assert not gaps.flatten(1).all(1).any()
    assert (batch.images[~gaps] == 200 / 255).all()


def test_pixels_are_binarized_and_dequantized_after_they_are_moved() -> None:
    images, noise = noise_images().numpy(), rng_stream(0, "noise")
    transform = partial(
        augment, uniforms=draw_uniforms(0, 0, 0, COUNT), settings=chosen(zoom=0.4, color=0.3)
    )
    binary, levels = (
        next(
            ImageLoader(images, CPU, **own).batches_at([torch.arange(COUNT)], [noise], [transform])
        )
        for own in ({"binarize": True}, {"dequantize_levels": 17})
    )
    assert set(binary.images.flatten().tolist()) == {0, 1}
    within = levels.images * 17 - (levels.images * 17).floor()
    # Noise of a whole level: uniform, whatever the crop did.
    assert within.mean() == pytest.approx(0.5, abs=6 * (1 / 12 / within.numel()) ** 0.5)


def test_draws_are_of_the_epoch_and_the_batch() -> None:
    first = draw_uniforms(0, 1, 2, 5)
    assert torch.equal(first, draw_uniforms(0, 1, 2, 5))
    for other in ((1, 1, 2), (0, 2, 1), (0, 1, 3), (0, 12, 0)):
        assert not torch.equal(first, draw_uniforms(*other, 5))


@pytest.mark.parametrize("name", ["zoom", "color"])
def test_fixed_binary_pixels_cannot_become_gray(name: str) -> None:
    own = {"data": {"binarization": "fixed"}, "train": {f"augment_{name}": 0.1}}
    message = rf"train.augment_{name} makes gray pixels, and data.binarization: fixed has none"
    with pytest.raises(UserError, match=message):
        parse_settings(own)
    parse_settings({"data": {"binarization": "fixed"}, "train": {"augment_shift": 0.1}})
    parse_settings({**own, "data": {"binarization": "fresh"}})


@pytest.mark.parametrize("own", [{"zoom": 0.3}, {"color": 0.5}, {"shift": 0.2, "color": 0.5}])
def test_what_is_hidden_changes_nothing_that_is_seen(own: dict[str, float]) -> None:
    """One mask for all channels, over pixels that are still there."""
    images, mask = noise_images(50), (noise_images(50, 1) < 60).to(torch.uint8)
    found = []
    for hidden in (0, 255):
        stored = torch.cat([images.masked_fill(mask.bool(), hidden), mask], 1)
        pixels, gone = changed(stored, 3, **own).tensor_split([3], dim=1)
        found.append(pixels.masked_fill(gone.bool(), 7))
    assert torch.equal(*found)
    assert gone.bool().any()
    assert not gone.bool().all()
