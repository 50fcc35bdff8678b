"""Put the members side by side: a table with standard errors, the text's claims, and a figure."""

import numpy as np
from matplotlib.figure import Figure

from pipeline import cli, paths
from pipeline.comparison import paths as places
from pipeline.comparison.hypotheses import hypothesis_results
from pipeline.comparison.results import Results
from pipeline.comparison.runs import log_comparison
from pipeline.comparison.variants import Plan
from vaelab.config import UserError
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
{data}. Sharpness: median variance of the Laplacian over that of real images; noise looks sharp
to it, so read it beside the slope of the power spectrum. Fréchet distance, precision and recall
are in the features of a small classifier ({accuracy:.1%} right) trained here: no FID. The row of
real images is the floor: training images against test images. A cell is empty where an objective
has no such thing. MMD² compares each model's latents with its own prior, at each latent space's
own scale. Seconds are of one training on one thread{pairs}.
"""


def main() -> None:
    """Run the stage."""
    cli.run_command(tabulate, resume_hint="`make compare` goes on from here")


def tabulate() -> None:
    """Write table.csv, table.md and comparison.png, and one parent run in MLflow."""
    results = Results.load()
    if not results.variants:
        raise UserError(f"{paths.COMPARISON_MEASURED}: nothing measured; `make compare` does it")
    plan = Plan.load()
    write_csv(paths.COMPARISON_TABLE, table_rows(results))
    write_text(paths.COMPARISON_REPORT, report(plan, results))
    figure = pictures(list(results.variants))
    figure.savefig(paths.COMPARISON_FIGURE, dpi=150)
    print(f"compared {', '.join(results.variants)}: {paths.COMPARISON_REPORT}")
    log_comparison(plan, results)


def table_rows(results: Results) -> list[dict[str, object]]:
    """Give a row a member: each metric's mean, and its standard error over seeds."""
    rows: list[dict[str, object]] = []
    for member, metrics in results.variants.items():
        row: dict[str, object] = {"member": member, "seeds": results.seeds(member)}
        for name, values in metrics.items():
            mean, error = mean_and_standard_error(values)
            row |= {name: mean} | ({} if error is None else {f"{name}_standard_error": error})
        rows.append(row)
    return rows


def report(plan: Plan, results: Results) -> str:
    """Write the table and the verdicts as Markdown."""
    lines = ["# The comparison", "", markdown_table(results), "", note(plan, results)]
    lines += ["## What the text claims", "", *hypothesis_results(results.variants), ""]
    return "\n".join(lines)


def markdown_table(results: Results) -> str:
    """Give the table, a row a member, the floor last."""
    rows = [["objective", *(heading for heading, _ in COLUMNS.values())]]
    for member, metrics in results.variants.items():
        rows.append([member, *(cell(metrics.get(k), d) for k, (_, d) in COLUMNS.items())])
    floor = {name: [value] for name, value in results.floor.items()}
    rows.append(["*real images*", *(cell(floor.get(k), d) for k, (_, d) in COLUMNS.items())])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(values: list[float] | None, decimals: int) -> str:
    """Write a mean and its standard error."""
    if not values:
        return ""
    mean, error = mean_and_standard_error(values)
    spread = "" if error is None else f" ± {error:.{decimals}f}"
    return f"{mean:.{decimals}f}{spread}"


def note(plan: Plan, results: Results) -> str:
    """Say what the columns mean, and what it was measured on."""
    comparison, train = plan.comparison, plan.common.train
    of_a_model = next(iter(results.variants.values()))
    return NOTE.format(
        seeds=len(comparison.seeds),
        epochs=train.epochs,
        samples=f"{of_a_model['samples.count'][0]:,.0f}",
        data=plan.common.data.name,
        accuracy=of_a_model["samples.classifier_test_accuracy"][0],
        pairs=", with others beside it" if (comparison.workers or 2) > 1 else "",
    )


def pictures(members: list[str]) -> Figure:
    """Draw the first seed's pictures of every member."""
    loaded = {member: first_pictures(member) for member in members}
    first = next(iter(loaded.values()))
    shown = {
        member: VariantImages(arrays.get("reconstructions"), arrays["samples"])
        for member, arrays in loaded.items()
    }
    return comparison_figure(first["originals"], first["real"], shown)


def first_pictures(member: str) -> dict[str, Images]:
    """Read the pictures of a member's first seed, in [0, 1]."""
    with np.load(places.pictures(member, places.seeds(member)[0]), allow_pickle=False) as file:
        return {name: (file[name] / 255).astype(np.float32) for name in file.files}


if __name__ == "__main__":
    main()
