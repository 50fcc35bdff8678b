"""Warnings of scores from few effective importance samples."""

from collections.abc import Iterator

from pipeline.study.finalists import METRICS
from pipeline.study.scorer import EFFECTIVE_SAMPLE_SIZE
from pipeline.study.summary import StudySummary

# Share of K below which the mean effective sample size is small.
SMALL_SHARE = 0.05
NLL_WARNING = (
    "tune.objective: nll favors wide posteriors, such as those of large KL weights, where the "
    "effective sample size is small; neg_elbo does not"
)


def warnings_of(summary: StudySummary) -> Iterator[str]:
    """Yield what is wrong with the values of a study by NLL."""
    if summary.settings.tune.objective == "nll":
        yield NLL_WARNING
        for text in _small_sizes(summary):
            yield f"{text}, so it cannot compare KL weights"


def notes_of(summary: StudySummary) -> Iterator[str]:
    """Yield what is to know of NLLs that are shown beside the values of a study."""
    if summary.settings.tune.objective != "nll":
        for text in _small_sizes(summary):
            yield f"{text}. The trials are compared by {summary.label}, which needs no such samples"


def _small_sizes(summary: StudySummary) -> Iterator[str]:
    tune = summary.settings.tune
    metrics = [trial.user_attrs.get(METRICS, {}) for trial in summary.completed()]
    sizes = [each[EFFECTIVE_SAMPLE_SIZE] for each in metrics if EFFECTIVE_SAMPLE_SIZE in each]
    small = [size for size in sizes if size < SMALL_SHARE * tune.importance_samples]
    if small:
        yield (
            f"the effective sample size is below {100 * SMALL_SHARE:.0f} % of K = "
            f"{tune.importance_samples} in {len(small)} of {len(sizes)} complete trials, "
            f"{min(small):.1f} in the worst: an NLL from these samples is too high, and less so "
            "for wide posteriors"
        )
