"""Compare the variants: tables with standard errors, tests of hypotheses, and a figure."""

import numpy as np
from matplotlib.figure import Figure

from pipeline import cli, paths
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.hypotheses import hypothesis_results
from pipeline.comparison.results import Metrics, Results
from pipeline.comparison.runs import log_comparison
from pipeline.comparison.variants import ComparisonConfig
from vaelab.config import ArtifactError
from vaelab.estimators.statistics import mean_and_standard_error
from vaelab.figures.comparison import Panel, PanelRow, comparison_figure
from vaelab.figures.image_tiles import Images
from vaelab.figures.saving import figure_files, write_figures
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import write_csv

# Columns of the tables: the metric's name, its heading, its decimals.
Columns = dict[str, tuple[str, int]]
MODELS: Columns = {
    "test.mean_squared_error": ("squared error", 4),
    "reconstructions.sharpness_ratio": ("sharpness", 2),
    "reconstructions.classifier_frechet_distance": ("Fréchet", 1),
    "test.neg_elbo_nats": ("negative ELBO, nats", 1),
    "test.nll_nats": ("K-sample bound, nats", 1),
    "test.nll_effective_sample_size": ("effective of K", 1),
    "likelihood.nll_nats": ("NLL, nats", 1),
    "likelihood.effective_sample_size": ("effective of K, fitted", 1),
    "latent.mmd_squared": ("MMD² to prior", 3),
    "timing.training_seconds": ("training seconds", 0),
}
SAMPLES: Columns = {
    "classifier_frechet_distance": ("Fréchet", 1),
    "classifier_precision": ("precision", 2),
    "classifier_recall": ("recall", 2),
    "sharpness_ratio": ("sharpness", 2),
    "spectrum_slope": ("slope", 2),
    "largest_class_share": ("largest class", 2),
}
# Groups of metrics of samples, with what they are called.
SOURCES = {
    "samples": "its prior",
    "sampler.gaussian": "a Gaussian",
    "sampler.mixture": "ten Gaussians",
    "sampler.flow_matching": "flow matching",
}
# Columns of the figure: the group, and its heading.
PANELS = {
    "reconstructions": "Reconstructions of the real images",
    "samples": "Samples from the model's own prior",
    "sampler.flow_matching": "Samples from flow matching on its latents",
}
NOTE = """Means over {seeds} seeds ± their standard error; {epochs}.
Sharpness is the median variance of the Laplacian divided by that of real images; noise raises it
too, so that more than 1 is no merit: read it together with the slope of the power spectrum. Fréchet
distance, precision and recall of {samples} images are in the features of a small classifier
trained here (accuracy {accuracy:.1%}); this is not FID. The row of real images compares training
images with test images. The K-sample bound is from K = {k} importance samples of the encoder, on
all images, the NLL from as many samples of a proposal that is fitted to each of
{likelihood_images} images; where few of K samples are effective, it is far from tight. A cell is
empty if it does not apply. MMD² compares each model's latents with its own prior, at the scale of
that latent space. Seconds are CPU seconds of one thread, or seconds on a GPU.
"""


def main() -> None:
    """Run the stage."""
    cli.run_command(tabulate, resume_hint="`make compare` continues from here")


def tabulate() -> None:
    """Write table.csv, table.md and the figure, and one parent run in MLflow."""
    results = Results.load()
    if not results.variants:
        raise ArtifactError(paths.COMPARISON_MEASURED, "nothing was measured")
    config = ComparisonConfig.load()
    write_csv(paths.COMPARISON_TABLE, table_rows(results))
    write_text(paths.COMPARISON_REPORT, report(config, results))
    render = config.base.render
    contents = figure_files(figure(results), "comparison", render.formats, render.dpi)
    write_figures(paths.COMPARISON_FIGURES, contents)
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
    """Return the tables and the test results as Markdown."""
    lines = ["# The comparison", "", "## Models", "", *models_table(results), ""]
    lines += ["## Samples", "", *samples_table(results), "", note(config, results)]
    lines += ["## Hypotheses", "", *hypothesis_results(results.variants), ""]
    return "\n".join(lines)


def models_table(results: Results) -> list[str]:
    """Return the lines of a table with a row for each variant."""
    headings = ["model", *(heading for heading, _ in MODELS.values())]
    return markdown(headings, [[name, *cells(m, MODELS)] for name, m in results.variants.items()])


def samples_table(results: Results) -> list[str]:
    """Return the lines of a table with a row for each variant and source; real images are last."""
    rows = []
    for variant, metrics in results.variants.items():
        for group, source in SOURCES.items():
            own = {k.removeprefix(f"{group}."): v for k, v in metrics.items()}
            if f"{group}.classifier_frechet_distance" in metrics:
                rows.append([variant, source, *cells(own, SAMPLES)])
    real = {name: [value] for name, value in results.real_images.items()}
    rows.append(["*real images*", "", *cells(real, SAMPLES)])
    return markdown(["model", "samples from", *(h for h, _ in SAMPLES.values())], rows)


def markdown(headings: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in [headings, ["---"] * len(headings), *rows]]


def cells(metrics: Metrics, columns: Columns) -> list[str]:
    """Return the cells of a row."""
    return [cell(metrics.get(name), decimals) for name, (_, decimals) in columns.items()]


def cell(values: list[float] | None, decimals: int) -> str:
    """Format a mean and its standard error."""
    if not values:
        return ""
    mean, error = mean_and_standard_error(values)
    spread = "" if error is None else f" ± {error:.{decimals}f}"
    return f"{mean:.{decimals}f}{spread}"


def note(config: ComparisonConfig, results: Results) -> str:
    """Return the text below the tables: what the columns mean, and the budget."""
    comparison, evaluate = config.comparison, config.base.evaluate
    return NOTE.format(
        seeds=len(comparison.seeds),
        epochs=epochs(config),
        samples=f"{evaluate.samples:,}",
        accuracy=results.real_images["classifier_accuracy"],
        k=evaluate.importance_samples,
        likelihood_images=evaluate.likelihood_images,
    )


def epochs(config: ComparisonConfig) -> str:
    """Return how long the models were trained, with those that differ by name."""
    usual, variants = config.base.train.epochs, config.comparison.variants
    own = {name: changes.get("train.epochs", usual) for name, changes in variants.items()}
    others = "".join(f", of {name} {count}" for name, count in own.items() if count != usual)
    return f"{usual} epochs of {config.base.data.name} for each{others}"


def figure(results: Results) -> Figure:
    """Draw the example images of each variant's first seed, below real ones."""
    rows = []
    for variant, metrics in results.variants.items():
        images = first_images(variant)
        rows.append(
            PanelRow(variant, [panel(images.get(group), group, metrics) for group in PANELS])
        )
    count = len(images["samples"])
    real = [Panel(images["real"][i * count :][:count]) for i in range(len(PANELS))]
    return comparison_figure(list(PANELS.values()), [PanelRow("real images", real), *rows])


def panel(images: Images | None, group: str, metrics: Metrics) -> Panel | None:
    """Return images with their Fréchet distance below."""
    if images is None:
        return None
    distance = cell(metrics[f"{group}.classifier_frechet_distance"], 1)
    return Panel(images, f"Fréchet distance {distance}")


def first_images(variant: str) -> dict[str, Images]:
    """Load the example images of a variant's first seed, in [0, 1]."""
    with np.load(
        variant_paths.images(variant, variant_paths.measured_seeds(variant)[0]), allow_pickle=False
    ) as file:
        return {name: (file[name] / 255).astype(np.float32) for name in file.files}


if __name__ == "__main__":
    main()
