"""Traversals around an image, and the plane through the latents, against decoding by hand."""

import torch

from tests.evaluation.test_models import make_objective_model
from vaelab.inference import decoding
from vaelab.inference.traversal import image_traversals, plane_manifold


def test_a_traversal_varies_one_dimension_of_the_images_latent():
    model, image = make_objective_model("vae"), torch.rand(1, 8, 8)
    size = model.latent_dim
    frame = decoding.LatentFrame(torch.arange(size) * 1.0, torch.full((size,), 0.5))
    found = image_traversals(model, image, [2, 0], frame, steps=3, radius=2.0)
    latent = decoding.encode_means(model, image[None])[0]
    for row, j in enumerate([2, 0]):
        for column, value in enumerate([j - 1.0, j, j + 1.0]):
            changed = latent.clone()
            changed[j] = value
            torch.testing.assert_close(
                found[row, column], decoding.decode_means(model, changed[None])[0]
            )


def test_a_plane_is_at_the_gaussian_quantiles_of_its_axes():
    model = make_objective_model("vae")
    origin, axes = torch.randn(model.latent_dim), torch.randn(2, model.latent_dim)
    found, quantiles = plane_manifold(model, origin, axes, 4), decoding.gaussian_quantiles(4)
    # The first row is the highest value of the second axis.
    for row, up in enumerate(quantiles.flip(0)):
        for column, across in enumerate(quantiles):
            latent = origin + across * axes[0] + up * axes[1]
            expected = decoding.decode_means(model, latent[None])[0]
            torch.testing.assert_close(found[row, column], expected)
