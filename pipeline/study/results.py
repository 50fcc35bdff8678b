"""What a study leaves in results/tune, and in MLflow on its parent run."""

import shutil
from io import StringIO
from pathlib import Path

from optuna import Study
from ruamel.yaml import YAML

from pipeline import paths
from pipeline.study import figures as pictures
from pipeline.study import report
from pipeline.study.finalists import METRICS, Finalist
from pipeline.study.summary import StudySummary, summarize, trial_rows
from pipeline.study.trial_queue import finished_trials
from pipeline.study.trial_runner import TrialRunner
from pipeline.tracking import STORE_ERRORS, Run, shorten
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import nested, write_csv


def write(study: Study, laboratory: TrialRunner, parent: Run) -> None:
    """Write the report, the tables, the winner's settings and the figures."""
    outcome = summarize(study, laboratory)
    if outcome is None:
        print("no trial was trained to its end: there is nothing to report yet")
        return
    unfinished = paths.TUNE.with_name(f"{paths.TUNE.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write_files(unfinished, outcome, laboratory)
    shutil.rmtree(paths.TUNE, ignore_errors=True)
    unfinished.rename(paths.TUNE)
    print(report.summary(outcome))
    track(parent, outcome)


def write_files(folder: Path, outcome: StudySummary, laboratory: TrialRunner) -> None:
    """Write everything into a new folder."""
    write_csv(folder / "trials.csv", trial_rows(outcome))
    write_settings(folder / "best.yaml", outcome, outcome.best)
    if outcome.smallest:
        write_settings(folder / "smallest.yaml", outcome, outcome.smallest)
    names = []
    for name, figure in pictures.figures(outcome, laboratory):
        figure.savefig(folder / f"{name}.png")
        names.append(name)
    write_text(folder / "report.md", report.text(outcome, names))


def write_settings(path: Path, outcome: StudySummary, finalist: Finalist) -> None:
    """Write settings as params.yaml has them; `--apply` reads them back."""
    text = StringIO()
    text.write(f"# {report.named(outcome, finalist)}, study {outcome.study.study_name!r}\n")
    YAML().dump(nested(outcome.changes(finalist.trial)), text)
    write_text(path, text.getvalue())


def track(parent: Run, outcome: StudySummary) -> None:
    """Put everything on the study's run, and end it."""
    best = outcome.best
    metrics = {"best.value": best.mean, "finished_trials": len(finished_trials(outcome.study))}
    metrics |= {f"best.{k}": v for k, v in best.trial.user_attrs[METRICS].items()}
    metrics |= {f"test.{k}": v for k, v in (outcome.test or {}).items()}
    try:
        parent.log_metrics(metrics)
        parent.log_tags({f"best.{k}": v for k, v in outcome.changes(best.trial).items()})
        parent.log_files(paths.TUNE, "study")
        parent.end("FINISHED" if outcome.test is not None else "KILLED")
    except STORE_ERRORS as error:
        print(f"warning: the study's MLflow run is incomplete ({shorten(error)})", flush=True)
