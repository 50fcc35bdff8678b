"""The figures of the latent space and of the use of its dimensions."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vaelab.figures import latents, report, report_latents
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.figure import ReportFigure
from vaelab.runtime.formatting import format_number


def latent_figures(subject: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw what the rate pays for, where latents lie, and which dimensions are in use."""
    yield from _information(subject)
    yield from _places(subject)
    yield from _use(subject)


def _information(subject: EvaluationResult) -> Iterator[ReportFigure]:
    rate, cap = (
        subject.value("test.kl_loss_nats"),
        subject.value("latent.mutual_information_cap_nats"),
    )
    names = {
        "mutual_information_nats": "mutual information",
        "total_correlation_nats": "total correlation",
        "dimension_wise_kl_nats": "dimension-wise KL",
    }
    if not subject.has("latent.dimension_wise_kl_nats"):
        names = {
            "mutual_information_nats": "mutual information",
            "marginal_kl_nats": "KL of the aggregate posterior",
        }
    parts = {text: subject.value(f"latent.{name}") for name, text in names.items()}
    known = {text: value for text, value in parts.items() if value is not None}
    if cap is None or len(known) < 2:
        return
    whole = sum(known.values()) if rate is None else rate
    yield ReportFigure(
        "rate",
        "latent",
        report.rate_split_figure(known, whole, cap),
        ", ".join(f"{text} {format_number(value, 3)} nats" for text, value in known.items()) + ".",
        "Only the mutual information tells images apart; the rest is what the latents miss the "
        "prior by. Where the first part reaches its cap, some of the rest belongs to it.",
    )


def _places(subject: EvaluationResult) -> Iterator[ReportFigure]:
    table = subject.dimensions
    if "aggregate_mean" in table and subject.has_standard_prior:
        means, stddevs = table["aggregate_mean"], table["aggregate_stddev"]
        yield ReportFigure(
            "moments",
            "latent",
            report_latents.moments_figure(means, stddevs),
            f"Means between {format_number(means.min(), 2)} and "
            f"{format_number(means.max(), 2)}, standard "
            f"deviations between {format_number(stddevs.min(), 2)} and "
            f"{format_number(stddevs.max(), 2)}.",
            "Where a bar leaves the band, the prior draws other latents than images have.",
        )
    if subject.means is not None and len(subject.means) > 1:
        shown = latents.latent_scatter(
            subject.means,
            subject.labels,
            subject.classes or None,
            title="Where the test images lie",
            standard_prior=subject.has_standard_prior,
        )
        yield ReportFigure(
            "scatter",
            "latent",
            shown,
            f"Scatter plot of {_whereabouts(subject, subject.means)}.",
            "Each dot is the latent mean of a test image.",
            keep_light_background=True,
        )


def _whereabouts(subject: EvaluationResult, means: NDArray[np.floating]) -> str:
    """Say in words what the scatter plot shows."""
    count = f"{len(means):,} latent means"
    classes = [] if subject.labels is None else np.unique(subject.labels).tolist()
    if len(classes) < 2:
        widest = int(means.std(0).argmax())
        ends = float(means[:, widest].min()), float(means[:, widest].max())
        low, high = (format_number(end, 2) for end in ends)
        return f"{count}; they spread most in z{widest}, from {low} to {high}"
    names = [subject.classes[k] if k < len(subject.classes) else str(k) for k in classes]
    centres = np.stack([means[subject.labels == k].mean(0) for k in classes])
    return f"{count} of {len(classes)} classes: {_neighbours(centres, names)}"


def _neighbours(centres: NDArray[np.floating], names: Sequence[str]) -> str:
    """Say which classes' mean latents are nearest, in all dimensions, and which farthest apart."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    distances = [float(np.linalg.norm(centres[i] - centres[j])) for i, j in pairs]
    near, far = (
        f"{names[i]} and {names[j]}"
        for i, j in (pairs[int(np.argmin(distances))], pairs[int(np.argmax(distances))])
    )
    if len(pairs) == 1:
        return f"their means are {format_number(distances[0], 2)} apart"
    return f"the means of {near} are nearest to one another, those of {far} farthest apart"


def _use(subject: EvaluationResult) -> Iterator[ReportFigure]:
    table, threshold = subject.dimensions, subject.active_unit_threshold
    if "kl_nats" in table and "active" in table:
        kl, active = table["kl_nats"], table["active"].astype(bool)
        dead = np.flatnonzero(~active).tolist()
        yield ReportFigure(
            "collapse",
            "collapse",
            report_latents.collapse_figure(kl, active),
            f"From {format_number(kl.max(), 2)} nats down to {format_number(kl.min(), 2)}; "
            + (f"not active: {', '.join(map(str, dead))}." if dead else "all are active."),
            "A dimension with a cross has a mean that hardly moves: it says next to nothing."
            if dead
            else "What each dimension costs. One with little KL says little about the image.",
        )
    if "mean_variance" in table and "active" in table:
        variances = table["mean_variance"]
        yield ReportFigure(
            "variances",
            "collapse",
            report_latents.variances_figure(variances, threshold),
            f"Variances between {format_number(variances.min(), 2)} and "
            f"{format_number(variances.max(), 2)}; "
            f"{(variances > threshold).sum()} of {len(variances)} above {threshold:g}.",
            "Two groups with a gap around the threshold mean that its exact place does not matter.",
        )
