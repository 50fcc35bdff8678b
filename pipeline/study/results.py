"""What a study leaves in results/tune, and in MLflow on its parent run."""

import shutil
from functools import partial
from pathlib import Path

from optuna import Study
from ruamel.yaml import YAML

from pipeline import paths
from pipeline.files import nested, write_csv
from pipeline.study import pictures, report
from pipeline.study.finalists import METRICS, Finalist
from pipeline.study.laboratory import Laboratory
from pipeline.study.outcome import Outcome, outcome_of, trial_rows
from pipeline.study.queue import finished_trials
from pipeline.study.samplers import total_trials
from pipeline.tracking import STORE_ERRORS, Run, brief
from vaelab.files import write_atomically, write_text


def write(study: Study, laboratory: Laboratory, parent: Run) -> None:
    """Write the report, the tables, the winner's settings and the figures."""
    tune = laboratory.judge.settings.tune
    complete = len(finished_trials(study)) >= total_trials(tune)
    outcome = outcome_of(study, laboratory, final=complete)
    if outcome is None:
        print("no trial was trained to its end: there is nothing to report yet")
        return
    shutil.rmtree(paths.TUNE, ignore_errors=True)
    write_csv(paths.TUNE / "trials.csv", trial_rows(outcome))
    write_settings("best", outcome, outcome.best)
    if outcome.smallest:
        write_settings("smallest", outcome, outcome.smallest)
    names = []
    for name, figure in pictures.figures(outcome, laboratory):
        path = paths.TUNE / f"{name}.png"
        write_atomically(path, partial(figure.savefig, format="png"))
        names.append(name)
    write_text(paths.TUNE / "report.md", report.text(outcome, names))
    print(report.summary(outcome))
    track(parent, outcome, complete)


def write_settings(name: str, outcome: Outcome, finalist: Finalist) -> None:
    """Write settings as params.yaml has them; `--apply` reads them back."""
    yaml = YAML()
    header = f"# {report.named(outcome, finalist)}, study {outcome.study.study_name!r}\n"

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.write(header)
            yaml.dump(nested(outcome.changes(finalist.trial)), file)

    write_atomically(paths.TUNE / f"{name}.yaml", write)


def track(parent: Run, outcome: Outcome, complete: bool) -> None:
    """Put everything on the study's run, and end it."""
    best = outcome.best
    metrics = {"best.value": best.mean, "finished_trials": len(finished_trials(outcome.study))}
    metrics |= {f"best.{k}": v for k, v in best.trial.user_attrs[METRICS].items()}
    metrics |= {f"test.{k}": v for k, v in (outcome.test or {}).items()}
    try:
        parent.log_metrics(metrics)
        parent.log_tags({f"best.{k}": v for k, v in outcome.changes(best.trial).items()})
        parent.log_files(paths.TUNE, "study")
        parent.end("FINISHED" if complete else "KILLED")
    except STORE_ERRORS as error:
        print(f"warning: the study's MLflow run is incomplete ({brief(error)})", flush=True)
