"""Posterior collapse, diagnosed from the table of latent dimensions, and settings to try.

Three measures of a dimension may disagree. It is active if its posterior mean varies over images
(Burda et al. 2016), on a scale that only the prior fixes. It is informative if its mean varies
compared with its noise. And its KL loss grows with that information, but also with every other
difference between the posterior and the prior.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vaelab.models.networks import width_setting
from vaelab.report.evaluation_result import EvaluationResult

State = Literal["collapsed", "nearly_collapsed", "partially_active", "fully_active"]
FAILED = ("collapsed", "nearly_collapsed")
Mask = NDArray[np.bool_]

# A dimension with less information is uninformative: its mean has less than a quarter of its
# noise's variance.
INFORMATIVE_NATS = 0.1
# With less information than this in all dimensions the posterior has nearly collapsed.
NEARLY_COLLAPSED_NATS = 1.0
# An uninformative dimension with more KL than this is reported.
WASTED_KL_NATS = 0.2
# Outside of this range, the latents of a dimension are not distributed like N(0, 1).
STDDEV_RANGE = (0.5, 2.0)
MAX_DIMENSIONS_LISTED = 12
# Reconstructions whose PSNR is less than this above the mean image's show that the latent is
# ignored: 0.25 dB are 6 % of the squared error.
IGNORED_DB = 0.25


@dataclass(frozen=True)
class Diagnosis:
    """The state of the latent, findings in full sentences, and settings to try, best first.

    `informative` is the number of dimensions with at least 0.1 nats of information.
    """

    state: State
    findings: tuple[str, ...]
    suggestions: tuple[str, ...]
    informative: int

    @property
    def failed(self) -> bool:
        """Whether the latent carries no information, or almost none."""
        return self.state in FAILED


def describe_collapse(result: EvaluationResult) -> Diagnosis | None:
    """Return which dimensions are inactive, whether that is a failure, and which settings to try.

    `result.dimensions` has the columns of `estimators.latent_statistics.dimension_table`. A
    dimension is inactive if it is neither active nor has 0.1 nats of information. The information
    is estimated as -ln(1 - r) / 2, where r is the share of the mean in the latent's variance: the
    information of a Gaussian channel (Cover & Thomas 2006, chapter 9). Without a column of KL
    there are no findings about KL. None if latents have no noise (autoencoders, codes), since
    they have no KL loss.
    """
    table = result.dimensions
    if "active" not in table or ("ks_statistic" in table and "kl_nats" not in table):
        return None
    found = _Dimensions.of(table)
    state = found.state()
    findings = [
        _headline(state, found, result.description.settings),
        _uninformative(state, found),
        _small_scale(found),
        _wasted_kl(found, result),
        _far_from_prior(found, result),
    ]
    suggestions = _suggestions(result, has_kl=found.kl is not None) if state in FAILED else []
    informative = int(found.informative.sum())
    return Diagnosis(state, tuple(filter(None, findings)), tuple(suggestions), informative)


def has_collapsed(result: EvaluationResult) -> bool:
    """Return whether latents tell nothing, or almost nothing, about their images."""
    diagnosis = describe_collapse(result)
    return result.is_uninformative if diagnosis is None else diagnosis.failed


def gain_over_mean_image(result: EvaluationResult) -> float | None:
    """Return the PSNR of reconstructions above the mean training image's, in dB, if measured."""
    found, mean = (result.value(f"test.psnr_db{of}") for of in ("", "_mean_image"))
    return None if found is None or mean is None else found - mean


def is_encoder_ignored(result: EvaluationResult) -> bool:
    """Return whether reconstructions are hardly closer to their images than the mean image is.

    Latents may well carry information: then it is the decoder that does not use it.
    """
    gain = gain_over_mean_image(result)
    return gain is not None and gain < IGNORED_DB


def suggestions_for_ignored(result: EvaluationResult) -> list[str]:
    """List changes of settings with which the decoder may use the latent, best first."""
    name, settings = result.description.objective, result.description.settings
    share, weight = (
        settings.get(f"objectives.{name}.{key}") for key in ("pixel_share", "mmd_weight")
    )
    candidates = [
        (share is not None and share < 0.5, f"objectives.{name}.pixel_share: 0.5"),
        (bool(weight), f"objectives.{name}.mmd_weight: {(weight or 0) / 10:g}"),
    ]
    rate = settings.get("train.learning_rate", 0.001)
    lower = f"train.learning_rate: {rate / 3:.2g}, instead of {rate:g}"
    return [text for applies, text in candidates if applies] + [lower]


@dataclass(frozen=True)
class _Dimensions:
    """Columns of the table; information is in nats."""

    active: Mask
    information: NDArray[np.float64]
    kl: NDArray[np.float64] | None
    stddev: NDArray[np.float64]

    @classmethod
    def of(cls, table: Mapping[str, ArrayLike]) -> "_Dimensions":
        stddev = np.asarray(table["aggregate_stddev"], float)
        share = np.asarray(table["mean_variance"], float) / stddev**2
        return cls(
            active=np.asarray(table["active"], bool),
            # A share may be rounded to 1.
            information=-0.5 * np.log1p(-share.clip(max=1 - 1e-12)),
            kl=np.asarray(table["kl_nats"], float) if "kl_nats" in table else None,
            stddev=stddev,
        )

    @property
    def informative(self) -> Mask:
        return self.information >= INFORMATIVE_NATS

    @property
    def inactive(self) -> Mask:
        return ~self.active & ~self.informative

    def state(self) -> State:
        # Many uninformative dimensions may carry much information in total.
        if not self.informative.any() and self.information.sum() < NEARLY_COLLAPSED_NATS:
            return "nearly_collapsed" if self.active.any() else "collapsed"
        return "partially_active" if self.inactive.any() else "fully_active"


def _headline(state: State, found: _Dimensions, settings: Mapping[str, Any]) -> str:
    total, inactive = len(found.active), int(found.inactive.sum())
    if state == "collapsed":
        return (
            f"{_all(total)} inactive: the posterior is the same for every image, so the decoder "
            "gets no information from the latent (posterior collapse)."
        )
    if state == "nearly_collapsed":
        return (
            f"The latent carries almost no information: none of its {total} dimensions has "
            f"{INFORMATIVE_NATS} nats (the posterior has nearly collapsed)."
        )
    if state == "partially_active":
        return (
            f"Inactive: {inactive} of {total} dimensions ({_indices(found.inactive)}). This is not "
            "a failure: the KL loss deactivates dimensions that are not needed, and a smaller "
            f"latent (model.latent_dim: {total - inactive}) would perform as well."
        )
    return _fully_active(total, found, settings)


def _fully_active(total: int, found: _Dimensions, settings: Mapping[str, Any]) -> str:
    if settings.get("train.kl_weight") == 0:
        return f"{_all(total)} in use: with train.kl_weight: 0 there is no loss on information."
    least = found.information.min()
    informative = int(found.informative.sum())
    if informative < total:
        return (
            f"{informative} of {total} dimensions carry information about the image: the latent is "
            "about as large as needed."
        )
    return (
        f"{_all(total)} in use, the least informative with about {least:.2g} nats: none is "
        f"unneeded, so a larger latent (such as model.latent_dim: {2 * total}) may reach a better "
        "bound."
    )


def _uninformative(state: State, found: _Dimensions) -> str:
    if state == "nearly_collapsed":
        return ""
    return _describe(
        found.active & ~found.informative,
        f"active with less than {INFORMATIVE_NATS} nats of information",
        "The mean varies, but less than the noise: the number of active dimensions overestimates "
        "the use of the latent.",
    )


def _small_scale(found: _Dimensions) -> str:
    return _describe(
        ~found.active & found.informative,
        "informative without being active",
        "The mean varies little, but the noise is smaller still: the number of active dimensions "
        "underestimates the use of the latent.",
    )


def _wasted_kl(found: _Dimensions, result: EvaluationResult) -> str:
    if found.kl is None:
        return ""
    mask = ~found.informative & (found.kl >= WASTED_KL_NATS)
    return _describe(
        mask,
        f"uninformative with {found.kl[mask].sum():.2g} nats of KL loss",
        f"The posterior hardly depends on the image, but differs from the prior: "
        f"{_why_not_prior(result)}.",
    )


def _describe(mask: Mask, what: str, why: str) -> str:
    """Return a sentence about these dimensions, an empty string if there are none."""
    count = int(mask.sum())
    dimensions = f"{count} dimensions are" if count > 1 else "1 dimension is"
    return f"{dimensions} {what}: {_indices(mask)}. {why}" if count else ""


def _why_not_prior(result: EvaluationResult) -> str:
    settings = result.description.settings
    capacity_setting = f"objectives.{result.description.objective}.capacity_nats"
    free, capacity = settings.get("train.free_bits_nats"), settings.get(capacity_setting)
    if free:
        return f"train.free_bits_nats: {free:g} exempts this much of each dimension's KL"
    if capacity:
        return f"{capacity_setting}: {capacity:g} sets the total KL, whether it is useful or not"
    return "longer training may reduce the difference"


def _far_from_prior(found: _Dimensions, result: EvaluationResult) -> str:
    """Compare informative dimensions with the prior if it is N(0, I)."""
    if found.kl is None or not found.informative.any():
        return ""
    low, high = found.stddev[found.informative].min(), found.stddev[found.informative].max()
    if STDDEV_RANGE[0] <= low and high <= STDDEV_RANGE[1]:
        return ""
    weighted = "train.kl_weight" in result.objective_settings
    advice = "; a larger train.kl_weight reduces the difference" if weighted else ""
    return (
        f"The standard deviation of latents is {low:.2g} to {high:.2g} in the informative "
        "dimensions, that of the prior is 1: samples of the prior are distributed differently from "
        f"latents of images{advice}."
    )


def _suggestions(result: EvaluationResult, *, has_kl: bool) -> list[str]:
    """List changes of settings that may prevent the collapse and have not been made yet."""
    settings, used = result.description.settings, result.objective_settings
    model, widths = result.description.model, width_setting(result.description.model.network)
    fixed_variance = model.likelihood == "gaussian" and model.gaussian_variance != "fitted"
    weight, epochs = settings.get("train.kl_weight", 1.0), settings.get("train.epochs", 100)
    weighted, free_bits = "train.kl_weight" in used, settings.get("train.free_bits_nats")
    smaller = f" (a smaller {widths})" if widths else ""
    # Whether it applies, and the suggestion
    candidates = [
        (
            fixed_variance and not result.has_discriminator,
            f"model.gaussian_variance: fitted, instead of {model.gaussian_variance}: if it is too "
            "large, the generation loss is so small that no information is worth its KL loss",
        ),
        (weighted and weight > 1, f"train.kl_weight: 1, instead of {weight:g}"),
        (
            "train.kl_warmup_epochs" in used and not settings.get("train.kl_warmup_epochs"),
            f"train.kl_warmup_epochs: {max(1, epochs // 5)}: the decoder learns to use the latent "
            "before the KL loss has its full weight",
        ),
        (
            # Only the KL from N(0, I) is a sum over dimensions.
            "train.free_bits_nats" in used and has_kl and not free_bits,
            f"train.free_bits_nats: {INFORMATIVE_NATS}: exempts this much of each dimension's KL",
        ),
        (
            weighted and 0 < weight <= 1,
            f"train.kl_weight: {weight / 10:g}, instead of {weight:g}",
        ),
        (True, f"a less powerful decoder{smaller}, which has to use the latent"),
    ]
    return [text for applies, text in candidates if applies]


def _indices(mask: Mask) -> str:
    indices = np.flatnonzero(mask).tolist()
    listed = ", ".join(str(index) for index in indices[:MAX_DIMENSIONS_LISTED])
    more = len(indices) - MAX_DIMENSIONS_LISTED
    return f"{listed} and {more} more" if more > 0 else listed


def _all(count: int) -> str:
    return f"All {count} dimensions are" if count > 1 else "The only dimension is"
