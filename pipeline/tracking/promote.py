"""Give the best version of a registered model the alias `best`."""

from pipeline import cli
from pipeline.tracking import STORE_ERRORS, open_store, shorten
from pipeline.tracking.metric_names import mlflow_name
from pipeline.tracking.registry import ALIAS, Scored, scored_versions
from pipeline.tracking.run_info import model_name
from vaelab.config import Settings, UserError, flatten
from vaelab.config.choices import unknown_message
from vaelab.metrics import SPECS
from vaelab.runtime.formatting import format_number

DEFAULT = "test.neg_elbo_nats"


def main() -> None:
    """Run the command."""
    parser = cli.parser(
        __doc__,
        "Compared are the versions that were measured on the data set of the newest one; by a "
        "metric in nats, only those of its likelihood.",
    )
    parser.add_argument(
        "--metric",
        default=DEFAULT,
        help="its name in results/evaluate/metrics.json (default: %(default)s)",
    )
    parser.add_argument(
        "--model", help="registered model (default: data-objective of the settings)"
    )
    arguments = parser.parse_args()
    cli.run_command(
        lambda: print(
            promote(cli.load_params(arguments.params), arguments.metric, arguments.model)
        ),
        resume_hint="the same command starts again",
    )


def promote(settings: Settings, metric: str, model: str | None = None) -> str:
    """Move the alias, and return what was done. Raises UserError."""
    sign = _sign(metric)
    store = open_store(settings.tracking, local_instead=False)
    name = model or model_name(flatten(settings))
    try:
        found = scored_versions(store.client, name, metric)
        fair = [scored for scored in found if scored.comparable == found[0].comparable]
        best = min(fair, key=lambda scored: sign * scored.value)
        before = store.client.get_registered_model(name).aliases.get(ALIAS)
        store.client.set_registered_model_alias(name, ALIAS, best.version.version)
    except STORE_ERRORS as error:
        raise UserError(f"the MLflow store is unavailable: {shorten(error)}; try again") from error
    return _summary(name, metric, best, before, len(fair))


def _sign(metric: str) -> int:
    """Return 1 if lower values of a metric are better, else -1. Raises UserError."""
    ranking = sorted(k for k, s in SPECS.items() if s.direction != "neither" and mlflow_name(k))
    if metric not in ranking:
        if metric in SPECS:
            raise UserError(f"--metric {metric} does not rank models, as {DEFAULT} does")
        raise UserError(f"--metric: {unknown_message('metric', metric, ranking)}")
    return 1 if SPECS[metric].direction == "lower" else -1


def _summary(name: str, metric: str, best: Scored, before: str | None, count: int) -> str:
    number, value = best.version.version, format_number(best.value)
    moved = f"before: version {before}" if before else "new"
    if str(before) == str(number):
        moved = "as before"
    return (
        f"{name}@{ALIAS} is version {number} ({moved}): {best.version.description}, {metric} "
        f"{value}, the best of {count}; load it from models:/{name}@{ALIAS}"
    )


if __name__ == "__main__":
    main()
