"""The status of a run in MLflow."""


def status_after(error: BaseException | None) -> str:
    """Return the status in MLflow of a run that ends: KILLED if interrupted."""
    if error is None:
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
