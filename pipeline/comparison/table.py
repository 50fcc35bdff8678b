"""Compare the variants: a table with standard errors, tests of hypotheses, and a figure."""

import numpy as np
from matplotlib.figure import Figure

from pipeline import cli, paths
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.hypotheses import hypothesis_results
from pipeline.comparison.results import Results
from pipeline.comparison.runs import log_comparison
from pipeline.comparison.variants import ComparisonConfig
from vaelab.config import ArtifactError
from vaelab.estimators.statistics import mean_and_standard_error
from vaelab.figures.comparison import VariantImages, comparison_figure
from vaelab.figures.image_tiles import Images
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import write_csv

# Columns of the table: the metric's name, its heading, its decimals.
COLUMNS = {
    "samples.sharpness_ratio": ("sharpness", 2),
    "samples.spectrum_slope": ("slope", 2),
    "samples.classifier_frechet_distance": ("Fréchet", 1),
    "samples.classifier_precision": ("precision", 2),
    "samples.classifier_recall": ("recall", 2),
    "samples.largest_class_share": ("largest class", 2),
    "test.mean_squared_error": ("squared error", 4),
    "test.nll_nats": ("NLL, nats", 1),
    "latent.mmd_squared": ("MMD² to prior", 3),
    "timing.training_seconds": ("seconds", 0),
}
NOTE = """Means over {seeds} seeds ± their standard error. {epochs} epochs, {samples} samples,
{data}. Sharpness: median variance of the Laplacian divided by that of real images; noise also
raises it, so read it together with the slope of the power spectrum. Fréchet distance, precision and
recall are in the features of a small classifier trained here (accuracy {accuracy:.1%}); this is not
FID. The row of real images compares training images with test images. A cell is empty if the metric
does not apply to the objective. MMD² compares each model's latents with its own prior, at the scale
of that latent space. Seconds are for one training on one thread{pairs}.
"""


def main() -> None:
    """Run the stage."""
    cli.run_command(tabulate, resume_hint="`make compare` continues from here")


def tabulate() -> None:
    """Write table.csv, table.md and comparison.png, and one parent run in MLflow."""
    results = Results.load()
    if not results.variants:
        raise ArtifactError(paths.COMPARISON_MEASURED, "nothing was measured")
    config = ComparisonConfig.load()
    write_csv(paths.COMPARISON_TABLE, table_rows(results))
    write_text(paths.COMPARISON_REPORT, report(config, results))
    figure(list(results.variants)).savefig(paths.COMPARISON_FIGURE, dpi=150)
    print(f"compared {', '.join(results.variants)}: {paths.COMPARISON_REPORT}")
    log_comparison(config, results)


def table_rows(results: Results) -> list[dict[str, object]]:
    """Return a row for each variant: the mean of each metric, and its standard error over seeds."""
    rows: list[dict[str, object]] = []
    for variant, metrics in results.variants.items():
        row: dict[str, object] = {"member": variant, "seeds": results.seeds(variant)}
        for name, values in metrics.items():
            mean, error = mean_and_standard_error(values)
            row |= {name: mean} | ({} if error is None else {f"{name}_standard_error": error})
        rows.append(row)
    return rows


def report(config: ComparisonConfig, results: Results) -> str:
    """Return the table and the test results as Markdown."""
    lines = ["# The comparison", "", markdown_table(results), "", note(config, results)]
    lines += ["## Hypotheses", "", *hypothesis_results(results.variants), ""]
    return "\n".join(lines)


def markdown_table(results: Results) -> str:
    """Return the table with a row for each variant, and real images last."""
    rows = [["objective", *(heading for heading, _ in COLUMNS.values())]]
    for variant, metrics in results.variants.items():
        rows.append([variant, *(cell(metrics.get(k), d) for k, (_, d) in COLUMNS.items())])
    real = {name: [value] for name, value in results.real_images.items()}
    rows.append(["*real images*", *(cell(real.get(k), d) for k, (_, d) in COLUMNS.items())])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(values: list[float] | None, decimals: int) -> str:
    """Format a mean and its standard error."""
    if not values:
        return ""
    mean, error = mean_and_standard_error(values)
    spread = "" if error is None else f" ± {error:.{decimals}f}"
    return f"{mean:.{decimals}f}{spread}"


def note(config: ComparisonConfig, results: Results) -> str:
    """Return the text below the table: what the columns mean, and the budget."""
    comparison, train = config.comparison, config.base.train
    of_a_model = next(iter(results.variants.values()))
    return NOTE.format(
        seeds=len(comparison.seeds),
        epochs=train.epochs,
        samples=f"{of_a_model['samples.count'][0]:,.0f}",
        data=config.base.data.name,
        accuracy=of_a_model["samples.classifier_test_accuracy"][0],
        pairs=", with others running at the same time" if (comparison.workers or 2) > 1 else "",
    )


def figure(variants: list[str]) -> Figure:
    """Draw the example images of each variant's first seed."""
    loaded = {variant: first_images(variant) for variant in variants}
    first = next(iter(loaded.values()))
    shown = {
        variant: VariantImages(arrays.get("reconstructions"), arrays["samples"])
        for variant, arrays in loaded.items()
    }
    return comparison_figure(first["originals"], first["real"], shown)


def first_images(variant: str) -> dict[str, Images]:
    """Load the example images of a variant's first seed, in [0, 1]."""
    with np.load(
        variant_paths.images(variant, variant_paths.seeds(variant)[0]), allow_pickle=False
    ) as file:
        return {name: (file[name] / 255).astype(np.float32) for name in file.files}


if __name__ == "__main__":
    main()
