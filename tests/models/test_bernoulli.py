"""The Bernoulli log-likelihood against its definition, and its derivative against PyTorch's."""

import pytest
import torch
from torch import Tensor

from vaelab.models.bernoulli import bernoulli_log_prob, softplus

LOGITS = torch.cat([torch.linspace(-100, 100, 401), torch.tensor([0.0, 1e-6, -1e-6, 3e4, -3e4])])


def both(images: float) -> tuple[Tensor, Tensor]:
    """Return our value, and x l - ln(1 + e^l) in double precision."""
    exact = LOGITS.double()
    expected = images * exact - torch.logaddexp(exact, torch.zeros(()))
    return bernoulli_log_prob(torch.full_like(LOGITS, images), LOGITS), expected


def slope(value: Tensor, by: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(value.sum(), by)
    return gradient


@pytest.mark.parametrize("images", [0.0, 0.3, 1.0])
def test_it_is_the_log_of_the_bernoullis_probability(images):
    ours, expected = both(images)
    # Rounding of a sum whose largest term is the logit itself.
    assert ((ours - expected).abs() <= 1.5e-7 * (1 + LOGITS.abs())).all()


@pytest.mark.parametrize("images", [0.0, 0.3, 1.0])
def test_its_derivative_is_the_pixel_less_its_probability(images):
    logits = LOGITS.clone().requires_grad_()
    gradient = slope(bernoulli_log_prob(torch.full_like(LOGITS, images), logits), logits)
    assert torch.allclose(gradient, images - LOGITS.sigmoid(), atol=1e-7)


def test_logits_with_a_leading_dimension_share_the_images():
    images, logits = torch.rand(3, 4), torch.randn(5, 3, 4, requires_grad=True)
    value = bernoulli_log_prob(images, logits)
    assert value.shape == (5, 3, 4)
    assert torch.allclose(slope(value, logits), images - logits.detach().sigmoid(), atol=1e-6)


def test_one_images_logits_broadcast_over_many_images():
    images, logits = torch.rand(5, 4), torch.randn(4, requires_grad=True)
    expected = (images - logits.detach().sigmoid()).sum(0)
    assert torch.allclose(slope(bernoulli_log_prob(images, logits), logits), expected, atol=1e-6)


def test_images_have_a_derivative_too():
    images, logits = torch.rand(4, requires_grad=True), torch.randn(4)
    assert torch.allclose(slope(bernoulli_log_prob(images, logits), images), logits)


def test_it_can_be_vectorized_over_models():
    images, logits = torch.rand(3, 4), torch.randn(5, 3, 4, requires_grad=True)
    value = torch.vmap(bernoulli_log_prob, in_dims=(None, 0))(images, logits)
    assert torch.equal(value, bernoulli_log_prob(images, logits))
    assert torch.allclose(slope(value, logits), images - logits.detach().sigmoid(), atol=1e-6)


def test_a_second_derivative_is_refused():
    logits = torch.randn(4, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        bernoulli_log_prob(torch.rand(4), logits).sum(), logits, create_graph=True
    )
    with pytest.raises(RuntimeError):
        slope(gradient, logits)


def test_softplus_does_not_overflow_and_has_slope_one_half_at_zero():
    values = LOGITS.clone().requires_grad_()
    ours = softplus(values)
    assert torch.allclose(ours, torch.nn.functional.softplus(LOGITS), atol=1e-6)
    assert (slope(ours, values)[LOGITS == 0] == 0.5).all()
