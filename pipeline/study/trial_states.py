"""How a trial stands: what has ended, and what counts toward a study's number of trials."""

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

# A trial's user attribute: why its settings failed.
FAILURE = "failure"


def is_finished(trial: FrozenTrial) -> bool:
    """Return whether a trial is complete, pruned, or failed because of its settings."""
    done = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return done or (trial.state == TrialState.FAIL and FAILURE in trial.user_attrs)


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Return a study's finished trials, by number."""
    return [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]


def counts_toward_total(trial: FrozenTrial) -> bool:
    """Return whether a trial is one of the total: finished, running or queued."""
    return not trial.state.is_finished() or is_finished(trial)
