"""Flow matching: Lipman et al. 2023; with straight paths: Liu et al. 2023 (rectified flow).

A network v(x, t) is the velocity of an ordinary differential equation dx/dt = v(x, t), which
carries noise x(0) ~ N(0, I) to latents x(1). Samples are its solutions. Their density follows from
the instantaneous change of variables (Chen et al. 2018, theorem 1). With labels the velocity is
v(x, t | label), and p(z) is the mixture of p(z | label) over the labels of the training images.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from vaelab.config import Section, Width
from vaelab.config.section import Positive
from vaelab.models.distributions import standard_normal
from vaelab.runtime.adam import Adam
from vaelab.runtime.matmul import bfloat16_products, fast_matmul
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Labels, Latents, Posteriors, Sampler, refuse_labels
from vaelab.samplers._velocity import CountedLabels, Directions, Points, Times, Velocity

VelocityField = Callable[[Tensor, float], Tensor]

LEARNING_RATE, WARMUP_STEPS, EMA_DECAY = 5e-3, 200, 0.999
# Training images whose loss decides when to stop: this share of all, at most so many.
HELD_OUT_SHARE, MAX_HELD_OUT = 0.1, 3_000
# Steps between two looks at that loss; looks without a better one that end the training.
CHECK_STEPS, PATIENCE = 250, 4
# Of few images, a step sees at most this share, and all steps see each image at most so often.
MAX_BATCH_SHARE, MAX_EPOCHS = 0.2, 150
# Share of the labels that are hidden in training, for guidance.
HIDDEN_LABELS = 0.1
# Noise around latents that have none, relative to the latents' scale: it makes q(z) a density.
MIN_RELATIVE_STDDEV = 1e-3
# The divergence is exact up to so many latent dimensions, and estimated beyond.
EXACT_DIMENSIONS = 64
# Derivatives that are computed at a time: latents times directions.
DIRECTIONS = 2**14


class FlowMatchingSettings(Section):
    """The network, its training, and the solver of the differential equation."""

    width: Width = 256
    layers: Positive = 2
    steps: Positive = 2000
    batch_size: Positive = 512
    guidance: float = Field(default=1.3, ge=0, le=10)
    solver_steps: Positive = 10


@dataclass(frozen=True)
class PathPoints:
    """Points of paths from noise to latents, with the velocities that the network learns there."""

    points: Points
    times: Times
    labels: CountedLabels
    targets: Points

    def loss(self, velocity: nn.Module) -> Float[Tensor, ""]:
        """Return the mean squared error of the velocities, per dimension."""
        return functional.mse_loss(velocity(self.points, self.times, self.labels), self.targets)


@dataclass(frozen=True)
class StandardizedPosteriors:
    """Posteriors of images in standardized coordinates, [images, latent], and labels or none."""

    means: Float[Tensor, "images latent"]
    stddevs: Float[Tensor, "images latent"]
    labels: Int64[Tensor, "images"]
    no_label: int

    def paths(
        self, rows: Int64[Tensor, "count"], noise: torch.Generator, hidden_labels: float = 0.0
    ) -> PathPoints:
        """Sample a point on a path to each of these images, at times spread evenly over [0, 1).

        The path (1 - t) e + t z from e ~ N(0, I) to z ~ N(m, s^2) has the marginal
        N(t m, a) with a = (1 - t)^2 + t^2 s^2 at time t. The target is the mean of z - e given
        the point, which has less variance than z - e and the same mean (Lipman et al. 2023,
        theorem 3): m + (t s^2 - (1 - t)) / a (x - t m).
        """
        mean, stddev, count, device = self.means[rows], self.stddevs[rows], len(rows), rows.device
        steps = torch.randperm(count, generator=noise, device=device)
        times = (steps + torch.rand(count, generator=noise, device=device)) / count
        t = times[:, None]
        spread = ((1 - t) ** 2 + (t * stddev) ** 2).sqrt()
        unit = torch.randn(mean.shape, generator=noise, device=device)
        targets = mean + (t * stddev**2 - (1 - t)) / spread * unit
        hidden = torch.rand(count, generator=noise, device=device) < hidden_labels
        labels = self.labels[rows].masked_fill(hidden, self.no_label)
        return PathPoints(t * mean + spread * unit, times, labels, targets)


class FlowMatching(Sampler):
    """A continuous normalizing flow of standardized latents."""

    settings_class: ClassVar[type[Section]] = FlowMatchingSettings
    title: ClassVar[str] = "flow matching"
    conditional: ClassVar[bool] = True
    mean: Tensor
    scale: Tensor

    def __init__(self, settings: FlowMatchingSettings, latent_dim: int, classes: int) -> None:
        super().__init__(settings, latent_dim, classes)
        self.settings = settings
        self.velocity = Velocity(latent_dim, classes, settings.width, settings.layers)
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))

    @classmethod
    def min_images(cls, latent_dim: int) -> int:
        """Return ten images a latent dimension, and at least 200."""
        return max(200, 10 * latent_dim)

    @fast_matmul()
    def fit(self, posteriors: Posteriors, seed: int) -> dict[str, float]:
        """Minimize the mean squared error of velocities, at latents sampled anew in each step.

        The weights are an exponential moving average. The training ends when the error of held-out
        images no longer falls, or after `steps`. Returns that error, per dimension, and the step
        that reached it.
        """
        device = posteriors.means.device
        noise = rng_stream(seed, "sampler/fit", device)
        self.set_label_frequencies(posteriors)
        data = self._standardize(posteriors)
        order = torch.randperm(len(posteriors), generator=noise, device=device)
        held_out, used = order.tensor_split([min(MAX_HELD_OUT, int(HELD_OUT_SHARE * len(order)))])
        check = data.paths(held_out, rng_stream(seed, "sampler/held-out", device))
        average, best, best_step = copy.deepcopy(self.velocity), math.inf, 0
        size, steps = self._batch_and_steps(len(used))
        train = _Training(self.velocity, average, steps)
        for step in tqdm(range(1, steps + 1), desc="sampler", disable=None):
            rows = used[torch.randint(len(used), (size,), generator=noise, device=device)]
            train.step(data.paths(rows, noise, HIDDEN_LABELS))
            if step % CHECK_STEPS == 0 or step == steps:
                with torch.no_grad():
                    loss = check.loss(average).item()
                if loss < best:
                    best, best_step, kept = loss, step, copy.deepcopy(average.state_dict())
                elif step - best_step >= PATIENCE * CHECK_STEPS:
                    break
        self.velocity.load_state_dict(kept)
        return {"held_out_loss": best, "steps": best_step}

    @torch.no_grad()
    @fast_matmul()
    def sample(
        self,
        count: int,
        generator: torch.Generator,
        labels: Labels | None = None,
        *,
        guided: bool = True,
    ) -> Float[Tensor, "count latent"]:
        """Sample latents; those of given labels are guided by the weight `guidance`.

        Without labels they are sampled with their frequency, and not guided: as in `log_prob`.
        """
        refuse_labels(self, labels)
        guidance = self.settings.guidance if guided and labels is not None else 1.0
        if labels is None and self.classes:
            labels = self.sample_labels(count, generator)
        noise = torch.randn(count, self.latent_dim, generator=generator, device=self.mean.device)
        return self.mean + self.scale * _heun(
            self._field(labels, guidance), noise, 0, 1, self.settings.solver_steps
        )

    @torch.no_grad()
    @fast_matmul()
    def log_prob(self, latents: Latents, labels: Labels | None = None) -> Float[Tensor, "*batch"]:
        """Return ln p(z), or ln p(z | label) without guidance, in nats; without gradients.

        The divergence is exact with up to 64 latent dimensions. Beyond, it is Hutchinson's
        estimate with one probe, and the log density unbiased with noise (Grathwohl et al. 2019,
        equation 7). ln p(z) of a conditional sampler takes `classes` times as long as
        ln p(z | label).
        """
        refuse_labels(self, labels)
        points = ((latents - self.mean) / self.scale).reshape(-1, self.latent_dim)
        if labels is not None:
            found = self._log_density(points, labels.expand(latents.shape[:-1]).reshape(-1))
        elif self.classes:
            each = [
                self._log_density(points, torch.full((len(points),), label, device=points.device))
                for label in range(self.classes)
            ]
            found = (torch.stack(each, dim=-1) + self.label_log_frequencies).logsumexp(-1)
        else:
            found = self._log_density(points, None)
        return found.reshape(latents.shape[:-1]) - self.scale.log().sum()

    def _batch_and_steps(self, images: int) -> tuple[int, int]:
        """Return the latents of a step and the number of steps at most: fewer of few images."""
        size = min(self.settings.batch_size, max(1, int(MAX_BATCH_SHARE * images)))
        return size, min(self.settings.steps, math.ceil(MAX_EPOCHS * images / size))

    def _standardize(self, posteriors: Posteriors) -> StandardizedPosteriors:
        """Set mean and scale to those of the aggregate posterior; return standardized posteriors.

        A dimension that is nearly equal for all images is not scaled up to 1.
        """
        means, stddevs, labels = posteriors.means, posteriors.stddevs, posteriors.labels
        scale = (means.var(0, correction=0) + stddevs.square().mean(0)).sqrt()
        self.mean.copy_(means.mean(0))
        self.scale.copy_(scale.clamp_min(1e-6 * scale.max().item() + 1e-12))
        none = torch.full((len(means),), self.classes, device=means.device)
        return StandardizedPosteriors(
            (means - self.mean) / self.scale,
            (stddevs / self.scale).clamp_min(MIN_RELATIVE_STDDEV),
            none if labels is None else torch.where(labels < 0, none, labels),
            self.classes,
        )

    def _field(self, labels: CountedLabels | None, guidance: float = 1.0) -> VelocityField:
        """Return the velocity as a function of points and time.

        Guidance w moves it from that without label: v + (w - 1)(v - v_none), Ho & Salimans 2021,
        equation 6, for velocities.
        """

        def field(points: Tensor, time: float) -> Tensor:
            times = torch.full((len(points),), time, device=points.device)
            none = torch.full((len(points),), self.classes, device=points.device)
            velocity: Tensor = self.velocity(points, times, none if labels is None else labels)
            if labels is None or guidance == 1:
                return velocity
            return torch.lerp(self.velocity(points, times, none), velocity, guidance)

        return field

    def _log_density(self, points: Points, labels: CountedLabels | None) -> Float[Tensor, "count"]:
        """Return the log density of standardized latents, chunk by chunk."""
        none = torch.full((len(points),), self.classes, device=points.device)
        known, directions = none if labels is None else labels, _directions(points)
        parts = []
        for start in range(0, len(points), chunk := max(1, DIRECTIONS // len(directions))):
            rows = slice(start, start + chunk)
            parts.append(self._density_of(points[rows], known[rows], directions[:, rows]))
        return torch.cat(parts)

    def _density_of(
        self, points: Points, labels: CountedLabels, directions: Directions
    ) -> Float[Tensor, "count"]:
        """Integrate backward from t = 1: ln p(x(1)) = ln N(x(0)) - integral of div v.

        Points by Heun's method; the divergence, which takes nearly all the time, by the trapezoidal
        rule at these points, of the same order and with half as many evaluations.
        """
        steps, integral = self.settings.solver_steps, torch.zeros_like(points[:, 0])
        field, size = self._field(labels), -1 / self.settings.solver_steps
        for step in range(steps + 1):
            time = 1 + step * size
            times = torch.full((len(points),), time, device=points.device)
            velocity, divergence = self.velocity.with_divergence(points, times, labels, directions)
            integral += (0.5 if step in (0, steps) else 1) * size * divergence
            if step < steps:
                ahead = field(points + size * velocity, time + size)
                points = points + size / 2 * (velocity + ahead)
        return standard_normal(points).log_prob(points) + integral


class _Training:
    """Adam with a cosine schedule, and the moving average of the weights.

    A step computes in bfloat16 where the CPU has it; weights, their average and the held-out loss
    are float32.
    """

    def __init__(self, velocity: nn.Module, average: nn.Module, steps: int) -> None:
        self.velocity, self.steps, self.taken = velocity, steps, 0
        self.weights: list[Tensor] = list(velocity.parameters())
        self.averages: list[Tensor] = list(average.parameters())
        self.adam = Adam(velocity.parameters(), betas=(0.9, 0.99))
        self.precision = bfloat16_products(self.weights[0].device)

    def step(self, paths: PathPoints) -> None:
        """Take one step, and update the average."""
        warmup = min(1.0, (self.taken + 1) / WARMUP_STEPS)
        cosine = 0.5 * (1 + math.cos(math.pi * self.taken / self.steps))
        with self.precision:
            loss = paths.loss(self.velocity)
        self.adam.step(loss, LEARNING_RATE * warmup * cosine)
        # The average starts with a shorter memory.
        decay = min(EMA_DECAY, (1 + self.taken) / (10 + self.taken))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.weights, 1 - decay)
        self.taken += 1


def _directions(points: Points) -> Float[Tensor, "directions count latent"]:
    """Return the directions of the divergence's derivatives: all axes, or one random probe."""
    count, latent_dim = points.shape
    if latent_dim <= EXACT_DIMENSIONS:
        axes = torch.eye(latent_dim, device=points.device)
        return axes[:, None].expand(latent_dim, count, latent_dim)
    signs = torch.randint(2, points.shape, generator=rng_stream(0, "sampler/probe", points.device))
    return (2.0 * signs - 1)[None]


def _heun(field: VelocityField, state: Tensor, start: float, end: float, steps: int) -> Tensor:
    """Integrate from one time to another by Heun's method, with equal steps."""
    size = (end - start) / steps
    for step in range(steps):
        time = start + step * size
        slope = field(state, time)
        state = state + size / 2 * (slope + field(state + size * slope, time + size))
    return state


SAMPLER = FlowMatching
