"""What does not belong among normal images: scores, a threshold, and where in the image.

A model of normal images scores others (higher is odder), held-out normal images say which scores
are usual, and the threshold is their conformal quantile. All in nats per image, where a score is an
information.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from PIL import Image
from torch import Tensor

from vaelab.config import UserError
from vaelab.config.choices import unknown_message
from vaelab.estimators import as_float64
from vaelab.estimators.importance import log_importance_weights
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

Images = Float[Tensor, "count channel height width"]
Values = Float64[np.ndarray, "count"]
NormalValues = Float64[np.ndarray, "normal"]
Maps = Float32[np.ndarray, "count height width"]

BATCH = 500
SAMPLES = 20
"""Latents of each image, whose bound is averaged and whose weights estimate ln p(x)."""
TAIL = 0.1
"""Share of the reference's scores from which on ranks are continued by an exponential tail."""
FLOOR = 0.1
"""Smallest spread of a pixel's -ln p(x|z), as a share of the root mean square over pixels."""

SCORES = {
    "neg_elbo": "negative bound on ln p(x)",
    "nll": "importance-weighted -ln p(x)",
    "complexity": "negative bound minus the length of the image as PNG",
    "reconstruction": "squared error of the reconstruction",
    "surprise": "pixels' -ln p(x|z) beyond what each pixel usually has",
    "latent_distance": "Mahalanobis distance of the latent from those of normal images",
    "combination": "ranks of bound, surprise and latent distance together",
}
"""What is measured of each image, by the name of the score."""
COMBINED = ("neg_elbo", "surprise", "latent_distance")


@dataclass(frozen=True)
class Measured:
    """What a model says of each image: scores that need no reference, latent, pixels' -ln p(x|z).

    `pixels` are summed over channels.
    """

    scores: Mapping[str, Values]
    latents: Float64[np.ndarray, "count latent"]
    pixels: Maps

    def __len__(self) -> int:
        return len(self.latents)

    def rows(self, rows: np.ndarray) -> "Measured":
        """Return some of the images."""
        scores = {name: values[rows] for name, values in self.scores.items()}
        return Measured(scores, self.latents[rows], self.pixels[rows])


@torch.no_grad()
def measure(model: Model, images: Images, seed: int = 0, samples: int = SAMPLES) -> Measured:
    """Score images, which are on the model's device. Raises UserError without an encoder."""
    if not model.has("encoder") or model.has("discriminator"):
        raise UserError(
            "detect needs an encoder and a likelihood of pixels, and this model lacks one"
        )
    noise = rng_stream(seed, "detection", images.device)
    parts = [_measure_batch(model, batch, samples, noise) for batch in torch.split(images, BATCH)]
    scores = {
        name: np.concatenate([part.scores[name] for part in parts]) for name in parts[0].scores
    }
    if "neg_elbo" in scores:
        scores["complexity"] = scores["neg_elbo"] - png_nats(images)
    return Measured(
        scores,
        np.concatenate([part.latents for part in parts]),
        np.concatenate([part.pixels for part in parts]),
    )


def _measure_batch(model: Model, images: Images, samples: int, noise: torch.Generator) -> Measured:
    posterior = model.encode(images)
    decoded = model.decode(posterior.mean)
    scores = {"reconstruction": (images - decoded.mean).square().flatten(1).sum(1)}
    if model.has_bound:
        count = samples if model.posterior == "gaussian" else 1
        weights = torch.cat(
            [
                log_importance_weights(model, images, posterior, posterior.rsample(noise, 1))
                for _ in range(count)
            ]
        )
        # ELBO = E ln w, and ln p(x) >= E ln mean_k w_k (Burda et al. 2016, equation 8)
        scores["neg_elbo"] = -weights.mean(0)
        scores["nll"] = math.log(count) - weights.logsumexp(0)
    pixels = -decoded.pixel_log_prob(images).sum(1)
    return Measured(
        {name: _float64(values) for name, values in scores.items()},
        _float64(posterior.mean),
        pixels.float().cpu().numpy(),
    )


def png_nats(images: Images) -> Values:
    """Return the length of each image as PNG, in nats: an estimate of its complexity.

    Serrà et al. 2020, section 3.
    """
    pixels = (images * 255).round().byte().cpu().numpy()
    return np.array([_png_bytes(image) * 8 * math.log(2) for image in pixels])


def _png_bytes(pixels: np.ndarray) -> int:
    """Return the bytes of a PNG; channels that are neither gray nor RGB stand side by side."""
    if len(pixels) == 3:
        picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    else:
        picture = Image.fromarray(np.concatenate(list(pixels), axis=1))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.tell()


class Reference:
    """Normal images, by which latents, pixels and ranks of others are judged."""

    def __init__(self, normal: Measured) -> None:
        from sklearn.covariance import LedoitWolf

        if len(normal) < 2:
            raise UserError(f"detect needs more than {len(normal)} normal images to compare with")
        self._gaussian = LedoitWolf().fit(normal.latents)
        self._usual = normal.pixels.mean(0)
        spread = normal.pixels.std(0)
        # A pixel that never changes has no spread of its own
        self._spread = np.sqrt(spread**2 + (FLOOR * np.sqrt((spread**2).mean())) ** 2) + 1e-6
        self._sorted = {name: np.sort(values) for name, values in self._plain(normal).items()}

    def heat_maps(self, measured: Measured) -> Maps:
        """Return each pixel's -ln p(x|z) beyond its usual one, in its own standard deviations."""
        maps: np.ndarray = (measured.pixels - self._usual) / self._spread
        return maps.astype(np.float32)

    def scores(self, measured: Measured) -> dict[str, Values]:
        """Return every score of each image, by the names in `SCORES`."""
        found = self._plain(measured)
        combined = [name for name in COMBINED if name in found]
        found["combination"] = sum(
            (self.unusualness(name, found[name]) for name in combined), np.zeros(len(measured))
        )
        return found

    def unusualness(self, name: str, scores: Values) -> Values:
        """Return -ln of the share of reference images that have this score or a higher one.

        Above most of them, where few or none are left, it rises linearly: an exponential tail with
        the mean excess of the reference's highest scores. Summed over scores it is Fisher's (1932)
        combination.
        """
        known = self._sorted[name]
        start = float(np.quantile(known, 1 - TAIL))
        excess = float((known[known > start] - start).mean()) if (known > start).any() else 1.0
        above = len(known) - np.searchsorted(known, scores, side="left")
        usual = -np.log((above + 1) / (len(known) + 1))
        tail = -math.log(TAIL) + (scores - start) / excess
        return np.where(scores > start, tail, np.minimum(usual, -math.log(TAIL)))

    def _plain(self, measured: Measured) -> dict[str, Values]:
        surprise = np.maximum(self.heat_maps(measured), 0).sum((1, 2), dtype=np.float64)
        distance = np.sqrt(self._gaussian.mahalanobis(measured.latents))
        return {**measured.scores, "surprise": surprise, "latent_distance": distance}


@dataclass(frozen=True)
class Detections:
    """How odd each image is; arrays [count] are in the order of the images.

    `scores` are those that `score` names, higher is odder, and `all_scores` every one by name. An
    image is odd where its score is above `threshold`; `p_values` are the shares of normal images
    that would be as odd. `heat_maps` [count, height, width] are in standard deviations of each
    pixel. `normal_images` is how many held-out images set the threshold.
    """

    score: str
    all_scores: Mapping[str, Values]
    threshold: float
    p_values: Values
    heat_maps: Maps
    false_alarm_rate: float
    normal_images: int

    def __len__(self) -> int:
        return len(self.p_values)

    @property
    def scores(self) -> Values:
        """The chosen score of each image."""
        return self.all_scores[self.score]

    @cached_property
    def is_odd(self) -> Bool[np.ndarray, "count"]:
        """Whether each image's score is above the threshold."""
        return self.scores > self.threshold

    @cached_property
    def order(self) -> Int64[np.ndarray, "count"]:
        """The numbers of the images, the oddest first."""
        return np.argsort(-self.scores, kind="stable")


def conformal_threshold(normal_scores: NormalValues, false_alarm_rate: float) -> float:
    """Return the score that a new normal image exceeds with at most this probability.

    It is the k-th smallest of n scores, k = ceil((n + 1) (1 - rate)): one more than the empirical
    quantile has, for the new image itself (Vovk et al. 2005; Lei et al. 2018, section 2). The
    probability is over the new image and the n normal ones, and at least rate - 1 / (n + 1). Raises
    UserError for a rate below 1 / (n + 1), whose threshold would be above all scores.
    """
    if not 0 < false_alarm_rate < 1:
        raise UserError(f"false_alarm_rate must be between 0 and 1 (it is {false_alarm_rate:g})")
    count = len(normal_scores)
    rank = math.ceil(round((count + 1) * (1 - false_alarm_rate), 9))
    if rank > count:
        wanted = math.ceil(round(1 / false_alarm_rate - 1, 9))
        raise UserError(
            f"{count} normal images are too few for a false-alarm rate of {false_alarm_rate:g}: "
            f"the threshold needs {wanted}, or a rate of {1 / (count + 1):.2g} or more"
        )
    return float(np.sort(normal_scores)[rank - 1])


def conformal_p_values(scores: Values, normal_scores: NormalValues) -> Values:
    """Return the share of normal images that are as odd, the image itself among them."""
    as_odd = len(normal_scores) - np.searchsorted(np.sort(normal_scores), scores, side="left")
    return np.asarray((as_odd + 1) / (len(normal_scores) + 1))


def detect(
    images: Measured,
    normal: Measured,
    reference: Reference,
    *,
    false_alarm_rate: float = 0.05,
    score: str = "combination",
) -> Detections:
    """Judge images by normal ones that neither the model nor the reference has seen.

    Raises UserError for an unknown score, and for too few normal images.
    """
    found = reference.scores(images)
    if score not in found:
        raise UserError(unknown_message("score", score, list(found)))
    usual = reference.scores(normal)[score]
    return Detections(
        score,
        found,
        conformal_threshold(usual, false_alarm_rate),
        conformal_p_values(found[score], usual),
        reference.heat_maps(images),
        false_alarm_rate,
        len(normal),
    )


def halves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of normal images for the reference, and those for the threshold."""
    rows = torch.randperm(count, generator=rng_stream(seed, "detection/halves")).numpy()
    return np.sort(rows[: count // 2]), np.sort(rows[count // 2 :])


def _float64(values: Tensor) -> np.ndarray:
    found: np.ndarray = as_float64(values).cpu().numpy()
    return found
