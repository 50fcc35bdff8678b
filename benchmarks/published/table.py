"""The table: ours beside what was published."""

from collections.abc import Mapping

from benchmarks.published.configurations import CONFIGURATIONS, Configuration
from benchmarks.published.measuring import Result

HEAD = (
    "configuration", "measured, nats", "published", "ours ± standard error", "tolerance", "met?",
    "epochs", "training", "source",
)  # fmt: skip


def table(results: Mapping[str, Result]) -> str:
    """Return a row for each configuration, in Markdown with its columns aligned."""
    rows = [HEAD, *(_row(name, result) for name, result in results.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    rows.insert(1, tuple("-" * width for width in widths))
    lines = (" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def listing() -> str:
    """Return a line for each configuration that there is."""
    return "\n".join(
        f"{name:19} {c.published:7.2f} nats, {describe(c)}, {c.training.epochs:,} epochs"
        + (f" ({c.note})" if c.note else "")
        for name, c in CONFIGURATIONS.items()
    )


def describe(configuration: Configuration) -> str:
    """Say what is measured."""
    measure = configuration.measure
    images = f"{measure.images:,} test images"
    return {
        "train_loss": f"training loss, epoch {configuration.training.epochs}",
        "test_neg_elbo": f"negative ELBO, {images}",
        "test_nll": f"NLL, K = {measure.samples:,}, {images}",
    }[measure.kind]


def outcome(configuration: Configuration, value: float | None) -> str:
    """Say whether our number is within the tolerance, to either side."""
    if value is None:
        return "unfinished"
    excess = value - configuration.published
    if abs(excess) <= configuration.tolerance:
        return "met"
    side = "above" if excess > 0 else "below"
    note = f" ({configuration.note})" if configuration.note else ""
    return f"missed: {abs(excess):.2f} {side}{note}"


def _row(name: str, result: Result) -> tuple[str, ...]:
    configuration = CONFIGURATIONS[name]
    ours = "" if result.value is None else f"{result.value:.2f}"
    if result.standard_error is not None:
        ours += f" ± {result.standard_error:.2f}"
    return (
        name,
        describe(configuration),
        f"{configuration.published:.2f}",
        ours,
        f"{configuration.tolerance:g}",
        outcome(configuration, result.value),
        f"{result.epochs:,} of {configuration.training.epochs:,}",
        f"{result.training_seconds / 60:.1f} min",
        configuration.source,
    )
