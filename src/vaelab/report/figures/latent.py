"""The figures of the latent space and of the use of its dimensions."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vaelab.figures import latents, report, report_latents
from vaelab.figures.latent_maps import embedded_latents, latent_maps
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.figure import ReportFigure
from vaelab.runtime.formatting import format_number


def latent_figures(result: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw the terms of the KL loss, the distribution of latents, and the use of dimensions."""
    yield from _information(result)
    yield from _distribution(result)
    yield from _use(result)


def _information(result: EvaluationResult) -> Iterator[ReportFigure]:
    rate = result.value("test.kl_loss_nats")
    cap = result.value("latent.mutual_information_cap_nats")
    names = {"latent.mutual_information_nats": "mutual information"}
    if result.has("latent.dimension_wise_kl_nats"):
        names["latent.total_correlation_nats"] = "total correlation"
        names["latent.dimension_wise_kl_nats"] = "dimension-wise KL"
    else:
        names["latent.marginal_kl_nats"] = "KL of the aggregate posterior"
    terms = {text: result.value(name) for name, text in names.items()}
    known = {text: value for text, value in terms.items() if value is not None}
    if cap is None or len(known) < 2:
        return
    total = sum(known.values()) if rate is None else rate
    yield ReportFigure(
        "rate",
        "latent",
        report.rate_split_figure(known, total, cap),
        ", ".join(f"{text} {format_number(value, 3)} nats" for text, value in known.items()) + ".",
        "Only the mutual information distinguishes images; the rest is the distance of the latents "
        "from the prior. If the mutual information reaches its upper limit, part of the rest "
        "belongs to it.",
    )


def _distribution(result: EvaluationResult) -> Iterator[ReportFigure]:
    table = result.dimensions
    if "aggregate_mean" in table and result.has_standard_prior:
        means, stddevs = table["aggregate_mean"], table["aggregate_stddev"]
        yield ReportFigure(
            "moments",
            "latent",
            report_latents.moments_figure(means, stddevs),
            f"Means between {format_number(means.min(), 2)} and "
            f"{format_number(means.max(), 2)}, standard "
            f"deviations between {format_number(stddevs.min(), 2)} and "
            f"{format_number(stddevs.max(), 2)}.",
            "Dimensions with bars outside the band are distributed differently from the prior.",
        )
    if result.means is not None and len(result.means) > 1:
        embedded = embedded_latents(result.arrays, len(result.means))
        wide = result.means.shape[1] > 1
        scatter = latents.latent_scatter(
            result.means,
            result.labels,
            result.classes or None,
            maps=latent_maps(result.means, embedded=embedded) if wide else (),
            title="Latent means of the test images",
            standard_prior=result.has_standard_prior,
        )
        yield ReportFigure(
            "scatter",
            "latent",
            scatter,
            f"Scatter plot of {_describe_scatter(result, result.means)}.",
            "Each dot is the latent mean of a test image.",
            keep_light_background=True,
        )


def _describe_scatter(result: EvaluationResult, means: NDArray[np.floating]) -> str:
    count = f"{len(means):,} latent means"
    labels = np.empty(0, np.int64) if result.labels is None else result.labels
    classes = np.unique(labels[labels >= 0]).tolist()
    if len(classes) < 2:
        widest = int(means.std(0).argmax())
        limits = float(means[:, widest].min()), float(means[:, widest].max())
        low, high = (format_number(limit, 2) for limit in limits)
        return f"{count}; their largest variance is in z{widest}, from {low} to {high}"
    names = [result.classes[k] if k < len(result.classes) else str(k) for k in classes]
    centers = np.stack([means[result.labels == k].mean(0) for k in classes])
    return f"{count} of {len(classes)} classes: {_closest_and_farthest(centers, names)}"


def _closest_and_farthest(centers: NDArray[np.floating], names: Sequence[str]) -> str:
    """Name the classes whose mean latents are closest, in all dimensions, and farthest apart."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    distances = [float(np.linalg.norm(centers[i] - centers[j])) for i, j in pairs]
    near, far = (
        f"{names[i]} and {names[j]}"
        for i, j in (pairs[int(np.argmin(distances))], pairs[int(np.argmax(distances))])
    )
    if len(pairs) == 1:
        return f"their means are {format_number(distances[0], 2)} apart"
    return f"the means of {near} are closest, those of {far} farthest apart"


def _use(result: EvaluationResult) -> Iterator[ReportFigure]:
    table, threshold = result.dimensions, result.active_unit_threshold
    if "kl_nats" in table and "active" in table:
        kl, active = table["kl_nats"], table["active"].astype(bool)
        inactive = np.flatnonzero(~active).tolist()
        yield ReportFigure(
            "collapse",
            "collapse",
            report_latents.collapse_figure(kl, active),
            f"From {format_number(kl.max(), 2)} nats down to {format_number(kl.min(), 2)}; "
            + (f"not active: {', '.join(map(str, inactive))}." if inactive else "all are active."),
            "The mean of a dimension with a cross hardly varies: it carries almost no information."
            if inactive
            else "A dimension with little KL carries little information about the image.",
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
            "If a gap around the threshold separates two groups, its exact value does not matter.",
        )
