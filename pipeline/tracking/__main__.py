"""Complete the MLflow run of the current model: `python -m pipeline.tracking sync`."""

from pipeline import cli, paths
from pipeline.tracking import STORE_ERRORS, open_store, shorten
from pipeline.tracking.sync import complete
from vaelab.config import Settings, UserError
from vaelab.models.weights import weights_sha256


def main() -> None:
    """Run the command."""
    parser = cli.parser(
        __doc__, "Uploads from the files of the stages what a server missed while it was down."
    )
    parser.add_argument("command", choices=["sync"], help="upload what is missing in the run")
    arguments = parser.parse_args()
    cli.run_command(
        lambda: sync(cli.load_params(arguments.params)),
        resume_hint="the same command continues",
    )


def sync(settings: Settings) -> None:
    """Complete the run with the files of all stages. Raises UserError."""
    weights_sha256(paths.MODEL)
    store = open_store(settings.tracking, local_instead=False)
    try:
        run = complete(store, settings)
    except STORE_ERRORS as error:
        raise UserError(f"the MLflow store is unavailable: {shorten(error)}; try again") from error
    if run.files_failed:
        raise UserError(f"run {run.run_id} has all numbers, but not all files ({run.files_failed})")
    print(f"run {run.run_id} is complete")


if __name__ == "__main__":
    main()
