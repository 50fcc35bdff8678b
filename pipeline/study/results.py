"""Writes a study's results to results/tune and to its parent run in MLflow."""

import shutil
from io import StringIO
from pathlib import Path

from optuna import Study
from ruamel.yaml import YAML

from pipeline import paths
from pipeline.study import report
from pipeline.study.apply import EPOCHS
from pipeline.study.figures import study_figures
from pipeline.study.finalists import Finalist
from pipeline.study.finalists_report import finalist_line
from pipeline.study.runs import with_split
from pipeline.study.scorer import ON_TEST
from pipeline.study.summary import StudySummary, summarize, trial_rows
from pipeline.study.trial_runner import TrialRunner
from pipeline.study.trial_settings import finalist_epochs, trial_epochs
from pipeline.study.trial_states import finished_trials
from pipeline.tracking import STORE_ERRORS, Run, shorten
from vaelab.figures.saving import figure_files, write_figures
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import nested, write_csv


def write_results(study: Study, runner: TrialRunner, parent: Run) -> None:
    """Write the report, the tables, the winner's settings and the figures."""
    summary = summarize(study, runner)
    if summary is None:
        print("no trial is complete yet: there is nothing to report")
        return
    unfinished = paths.TUNE.with_name(f"{paths.TUNE.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write_files(unfinished, summary, runner)
    shutil.rmtree(paths.TUNE, ignore_errors=True)
    unfinished.rename(paths.TUNE)
    print(report.console_summary(summary))
    log_to_mlflow(parent, summary)


def write_files(folder: Path, summary: StudySummary, runner: TrialRunner) -> None:
    """Write everything into a new folder."""
    write_csv(folder / "trials.csv", trial_rows(summary))
    write_settings(folder / "best.yaml", summary, summary.best)
    if summary.smallest:
        write_settings(folder / "smallest.yaml", summary, summary.smallest)
    names, contents, render = [], dict[str, bytes](), summary.settings.render
    for name, figure in study_figures(summary, runner):
        contents |= figure_files(figure, name, render.formats, render.dpi)
        names.append(name)
    write_figures(folder, contents)
    write_text(folder / "report.md", report.render_report(summary, names))


def write_settings(path: Path, summary: StudySummary, finalist: Finalist) -> None:
    """Write a finalist's settings in the form of params.yaml; `--apply` reads them."""
    text = StringIO()
    text.write(f"# {finalist_line(summary, finalist)}, study {summary.study.study_name!r}\n")
    epochs = trial_epochs(summary.settings), finalist_epochs(summary.settings)
    text.write(f"{EPOCHS.format(*epochs)}\n")
    YAML().dump(nested(summary.settings_of_finalist(finalist)), text)
    write_text(path, text.getvalue())


def log_to_mlflow(parent: Run, summary: StudySummary) -> None:
    """Log the results to the study's run, and end it."""
    best = summary.best
    metrics: dict[str, float] = {"finished_trials": len(finished_trials(summary.study))}
    metrics |= {f"best.{k}": v for k, v in with_split(best.metrics).items() if k != "epochs"}
    metrics |= {f"{ON_TEST}{k}": v for k, v in (summary.test or {}).items()}
    try:
        parent.log_metrics(metrics)
        parent.log_tags({f"best.{k}": v for k, v in summary.settings_of_finalist(best).items()})
        parent.log_files(paths.TUNE, "study")
        parent.end("FINISHED" if summary.test is not None else "KILLED")
    except STORE_ERRORS as error:
        print(f"warning: could not log all results to MLflow ({shorten(error)})", flush=True)
