"""The figures of ways through the latent space, and of what its dimensions hold."""

from collections.abc import Iterator

from vaelab.figures import report_latents, report_samples
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.figure import ReportFigure


def structure_figures(subject: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw interpolations, and factors against dimensions where factors are known."""
    yield from _ways(subject)
    yield from _factors(subject)


def _ways(subject: EvaluationResult) -> Iterator[ReportFigure]:
    arrays = subject.arrays
    names = {"linear_interpolation": "line", "spherical_interpolation": "arc"}
    ways = {text: arrays[name] for name, text in names.items() if name in arrays}
    if ways and all(len(way) for way in ways.values()):
        yield ReportFigure(
            "ways",
            "structure",
            report_samples.interpolation_steps_figure(ways),
            f"Decoded images along {' and '.join(ways)} between pairs of test images.",
            "Each row leads from one test image to another. A line goes straight, an arc keeps the "
            "length of latents.",
        )


def _factors(subject: EvaluationResult) -> Iterator[ReportFigure]:
    arrays = subject.arrays
    maps = {}
    if "factor_mutual_information" in arrays:
        maps["mutual information, nats"] = arrays["factor_mutual_information"]
    if "dci_importance" in arrays:
        maps["importance for predicting the factor (DCI)"] = arrays["dci_importance"].T
    if maps:
        factors = _factor_names(subject, len(next(iter(maps.values()))))
        best = {name: values.argmax(1) for name, values in maps.items()}
        yield ReportFigure(
            "factors",
            "structure",
            report_latents.factor_maps_figure(maps, factors),
            ". ".join(
                f"{name.capitalize()}: "
                + ", ".join(f"{f} mostly in z{j}" for f, j in zip(factors, at, strict=True))
                for name, at in best.items()
            )
            + ".",
            "One dark cell in a row is a factor with a dimension of its own, one in a column a "
            "dimension that means one thing.",
            keep_light_background=True,
        )


def _factor_names(subject: EvaluationResult, count: int) -> tuple[str, ...]:
    """Name the factors that were measured: `factor_columns`, where some of them do not vary."""
    names, columns = subject.info.factor_names or (), subject.arrays.get("factor_columns")
    chosen = range(len(names)) if columns is None else columns.tolist()
    if len(chosen) == count and max(chosen, default=0) < len(names):
        return tuple(names[column] for column in chosen)
    return tuple(f"factor {k}" for k in range(count))
