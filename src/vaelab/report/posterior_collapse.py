"""What the table of dimensions says of posterior collapse, in words, and what to try.

Three measures of a dimension may disagree. It is active where its posterior's mean moves over
images (Burda et al. 2016), on a scale that nothing fixes but the prior. It tells something of the
image where its mean moves beside its noise. And the KL loss charges for that, but also for
whatever else sets the posterior apart from the prior.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Verdict = Literal["collapsed", "nearly_collapsed", "partly_off", "all_on"]
Chosen = NDArray[np.bool_]

# A dimension that tells less is faint: its mean has less than a quarter of its noise's variance.
WEAK_DIMENSION_NATS = 0.1
# Less than this in all dimensions together are traces.
INACTIVE_TOTAL_NATS = 1.0
# KL at least of a faint dimension that costs more than it tells
UNUSED_KL_NATS = 0.2
# Outside of these, a dimension's latents are not where the prior N(0, 1) has its draws.
STDDEV_RANGE = (0.5, 2.0)
# Dimensions named in a sentence at most
NAMED = 12

# Objectives that read a setting: training refuses it with any other.
READ_KL_WEIGHT = ("vae", "beta_vae", "beta_tc_vae", "factor_vae", "info_vae", "vae_gan")
READ_KL_WARMUP = ("vae", "beta_vae", "beta_tc_vae", "factor_vae", "info_vae")
READ_FREE_BITS = ("vae", "beta_vae", "factor_vae", "info_vae")


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, what was found in whole sentences, and what to try, the likeliest first."""

    verdict: Verdict
    findings: tuple[str, ...]
    suggestions: tuple[str, ...]


def describe_collapse(
    table: Mapping[str, ArrayLike], settings: Mapping[str, Any]
) -> Diagnosis | None:
    """Say which dimensions are off, whether that is a failure, and which settings to try.

    `table` has the columns of `estimators.summary.dimension_table`, as arrays or lists, and
    `settings` what the model was trained with, by dotted name. A dimension is off where it is not
    active and tells less than 0.1 nats. What it tells is estimated as -ln(1 - r) / 2, with r the
    share of the mean in the latent's variance: the information of a Gaussian channel (Cover &
    Thomas 2006, chapter 9). There is no word of KL where there is no column of it. None where
    latents have no noise (autoencoders, codes): they are not paid for with KL.
    """
    if "active" not in table or ("ks_statistic" in table and "kl_nats" not in table):
        return None
    found = _Dimensions.of(table)
    verdict = found.verdict()
    findings = [
        _headline(verdict, found, settings),
        _faint(verdict, found),
        _small(found),
        _costly(found, settings),
        _far_from_the_prior(found, settings),
    ]
    failed = verdict in ("collapsed", "nearly_collapsed")
    remedies = _suggestions(settings, standard_prior=found.kl is not None) if failed else []
    return Diagnosis(verdict, tuple(filter(None, findings)), tuple(remedies))


@dataclass(frozen=True)
class _Dimensions:
    """Columns of the table; information is in nats."""

    active: Chosen
    information: NDArray[np.float64]
    kl: NDArray[np.float64] | None
    stddev: NDArray[np.float64]

    @classmethod
    def of(cls, table: Mapping[str, ArrayLike]) -> "_Dimensions":
        stddev = np.asarray(table["aggregate_stddev"], float)
        share = np.asarray(table["mean_variance"], float) / stddev**2
        return cls(
            active=np.asarray(table["active"], bool),
            # Rounding may leave a share of 1.
            information=-0.5 * np.log1p(-share.clip(max=1 - 1e-12)),
            kl=np.asarray(table["kl_nats"], float) if "kl_nats" in table else None,
            stddev=stddev,
        )

    @property
    def informative(self) -> Chosen:
        return self.information >= WEAK_DIMENSION_NATS

    @property
    def inactive(self) -> Chosen:
        return ~self.active & ~self.informative

    def verdict(self) -> Verdict:
        # Many dimensions may tell little each, and much together.
        if not self.informative.any() and self.information.sum() < INACTIVE_TOTAL_NATS:
            return "nearly_collapsed" if self.active.any() else "collapsed"
        return "partly_off" if self.inactive.any() else "all_on"


def _headline(verdict: Verdict, found: _Dimensions, settings: Mapping[str, Any]) -> str:
    total, off = len(found.active), int(found.inactive.sum())
    if verdict == "collapsed":
        return (
            f"{_all(total)} off: the posterior is the same for every image, so the latent tells "
            "the decoder nothing (posterior collapse)."
        )
    if verdict == "nearly_collapsed":
        return (
            f"The latent tells next to nothing: none of its {total} dimensions as much as "
            f"{WEAK_DIMENSION_NATS} nats (posterior collapse but for traces)."
        )
    if verdict == "partly_off":
        return (
            f"Off: {off} of {total} dimensions ({_names(found.inactive)}). The KL loss switches "
            f"off "
            "what is not needed, which is no failure: a smaller latent "
            f"(model.latent_dim: {total - off}) would lose nothing."
        )
    return _fully_active(total, found, settings)


def _fully_active(total: int, found: _Dimensions, settings: Mapping[str, Any]) -> str:
    if settings.get("train.kl_weight") == 0:
        return f"{_all(total)} on: with train.kl_weight: 0 there is no charge that would end it."
    least = found.information.min()
    start = f"{_all(total)} on, the weakest with about {least:.2g} nats of information"
    if least < WEAK_DIMENSION_NATS:
        return f"{start}: the latent is about as large as the images need."
    return (
        f"{start}: no dimension is to spare, so a larger latent "
        f"(such as model.latent_dim: {2 * total}) may reach a better bound."
    )


def _faint(verdict: Verdict, found: _Dimensions) -> str:
    if verdict == "nearly_collapsed":
        return ""
    return _describe(
        found.active & ~found.informative,
        f"less than {WEAK_DIMENSION_NATS} nats though active",
        "The mean moves, but is lost in the noise: the count of active units flatters the latent.",
    )


def _small(found: _Dimensions) -> str:
    return _describe(
        ~found.active & found.informative,
        "something of the image without being active",
        "The mean moves little, but the noise is smaller still: the count of active units "
        "belittles the latent.",
    )


def _costly(found: _Dimensions, settings: Mapping[str, Any]) -> str:
    if found.kl is None:
        return ""
    chosen = ~found.informative & (found.kl >= UNUSED_KL_NATS)
    return _describe(
        chosen,
        f"next to nothing at the price of {found.kl[chosen].sum():.2g} nats of KL",
        f"The posterior hardly depends on the image, but is not the prior: {_uncharged(settings)}.",
    )


def _describe(chosen: Chosen, what: str, why: str) -> str:
    """Say what these dimensions tell; nothing where there are none."""
    count = int(chosen.sum())
    subject = f"{count} dimensions tell" if count > 1 else "1 dimension tells"
    return f"{subject} {what}: {_names(chosen)}. {why}" if count else ""


def _uncharged(settings: Mapping[str, Any]) -> str:
    free = settings.get("train.free_bits_nats") or 0
    capacity = settings.get("objectives.beta_vae.capacity_nats") or 0
    if free:
        return f"train.free_bits_nats: {free:g} makes so much of each dimension free"
    if capacity:
        return f"objectives.beta_vae.capacity_nats: {capacity:g} holds the KL up, whatever its use"
    return "a longer training may bring it there"


def _far_from_the_prior(found: _Dimensions, settings: Mapping[str, Any]) -> str:
    """Speak of the prior N(0, I) alone, and of dimensions that tell something."""
    if found.kl is None or not found.informative.any():
        return ""
    low, high = found.stddev[found.informative].min(), found.stddev[found.informative].max()
    if STDDEV_RANGE[0] <= low and high <= STDDEV_RANGE[1]:
        return ""
    advice = (
        "; a larger train.kl_weight brings the two together"
        if settings.get("train.objective") in READ_KL_WEIGHT
        else ""
    )
    return (
        f"The latents' standard deviation is {low:.2g} to {high:.2g} in the dimensions that are "
        f"on, where the prior's is 1: what is drawn from the prior misses them{advice}."
    )


def _suggestions(settings: Mapping[str, Any], *, standard_prior: bool) -> list[str]:
    """List what may wake the latent, as far as it is not done yet."""
    objective, weight = settings.get("train.objective"), settings.get("train.kl_weight", 1.0)
    variance, epochs = settings.get("model.gaussian_variance"), settings.get("train.epochs", 100)
    layers = "model.hidden" if settings.get("model.network") == "mlp" else "model.channels"
    weighted, free = objective in READ_KL_WEIGHT, objective in READ_FREE_BITS and standard_prior
    # Whether it applies, and what it is
    remedies = [
        (
            _sets_variance(settings),
            f"model.gaussian_variance: fitted, in place of {variance}: too large a variance makes "
            "the generation loss so small that no KL is worth its price",
        ),
        (weighted and weight > 1, f"train.kl_weight: 1, in place of {weight:g}"),
        (
            objective in READ_KL_WARMUP and not settings.get("train.kl_warmup_epochs"),
            f"train.kl_warmup_epochs: {max(1, epochs // 5)}: the decoder learns to read the "
            "latent before that costs anything",
        ),
        (
            free and not settings.get("train.free_bits_nats"),
            f"train.free_bits_nats: {WEAK_DIMENSION_NATS}: so much of each dimension costs nothing",
        ),
        (weighted and 0 < weight <= 1, f"train.kl_weight: {weight / 10:g}, in place of {weight:g}"),
        (True, f"a less powerful decoder (a smaller {layers}), which needs the latent"),
    ]
    return [text for applies, text in remedies if applies]


def _sets_variance(settings: Mapping[str, Any]) -> bool:
    """Tell whether a Gaussian's variance is set by hand, and used: a discriminator replaces it."""
    gaussian = settings.get("model.likelihood") == "gaussian"
    by_hand = settings.get("model.gaussian_variance", "fitted") != "fitted"
    return gaussian and by_hand and settings.get("train.objective") != "vae_gan"


def _names(chosen: Chosen) -> str:
    indices = np.flatnonzero(chosen).tolist()
    listed = ", ".join(str(index) for index in indices[:NAMED])
    return f"{listed} and {len(indices) - NAMED} more" if len(indices) > NAMED else listed


def _all(count: int) -> str:
    return f"All {count} dimensions are" if count > 1 else "The one dimension is"
