"""Traversals around an image, and a decoded map, against decoding by hand."""

import torch

from tests.evaluation.test_models import make_objective_model
from vaelab.inference import decoding
from vaelab.inference.traversal import image_traversals, map_manifold


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


def test_a_place_of_a_map_is_the_mean_of_the_latents_near_it():
    model = make_objective_model("vae")
    latents = torch.randn(3, model.latent_dim)
    # On a grid of 4 x 4 the first is in the lower left place, the others near the upper right.
    points = torch.tensor([[0.0, 0.0], [4.0, 3.5], [3.5, 4.0]])
    found = map_manifold(model, latents, points, 4)
    expected = decoding.decode_means(model, torch.stack([latents[0], latents[1:].mean(0)]))
    torch.testing.assert_close(found[3, 0], expected[0])
    # Both are sqrt(0.5) or less from (3.5, 3.5), and alike; the first point is 5 places away.
    torch.testing.assert_close(found[0, 3], expected[1])
    assert found[1, 1].isnan().all(), "nothing is near"
    assert found.shape[:2] == (4, 4)
