"""The figures of interpolations, and of factors and dimensions."""

from collections.abc import Iterator

from vaelab.figures import report_latents, report_samples
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.figure import ReportFigure


def structure_figures(result: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw interpolations and, if factors are known, their relation to the dimensions."""
    yield from _interpolations(result)
    yield from _factors(result)


def _interpolations(result: EvaluationResult) -> Iterator[ReportFigure]:
    arrays = result.arrays
    names = {"linear_interpolation": "line", "spherical_interpolation": "arc"}
    images = {text: arrays[name] for name, text in names.items() if name in arrays}
    if images and all(len(array) for array in images.values()):
        yield ReportFigure(
            "interpolations",
            "structure",
            report_samples.interpolation_steps_figure(images),
            f"Decoded images along {' and '.join(images)} between pairs of test images.",
            "Each row interpolates between two test images, along a straight line or along an arc "
            "that preserves the norm of latents.",
        )


def _factors(result: EvaluationResult) -> Iterator[ReportFigure]:
    arrays = result.arrays
    maps = {}
    if "factor_mutual_information" in arrays:
        maps["mutual information, nats"] = arrays["factor_mutual_information"]
    if "dci_importance" in arrays:
        maps["importance for predicting the factor (DCI)"] = arrays["dci_importance"].T
    if maps:
        factors = _factor_names(result, len(next(iter(maps.values()))))
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
            "A row with a single dark cell is a factor with its own dimension, a column with a "
            "single dark cell a dimension that represents one factor.",
            keep_light_background=True,
        )


def _factor_names(result: EvaluationResult, count: int) -> tuple[str, ...]:
    """Return the names of the measured factors: `factor_columns` if some do not vary."""
    names, columns = result.info.factor_names or (), result.arrays.get("factor_columns")
    chosen = range(len(names)) if columns is None else columns.tolist()
    if len(chosen) == count and max(chosen, default=0) < len(names):
        return tuple(names[column] for column in chosen)
    return tuple(f"factor {k}" for k in range(count))
