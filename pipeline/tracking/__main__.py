"""Complete the MLflow run of the model at hand: `python -m pipeline.tracking sync`."""

from pipeline import cli, paths
from pipeline.tracking import STORE_ERRORS, open_store, shorten
from pipeline.tracking.sync import complete
from vaelab.config import Settings, UserError, load_settings
from vaelab.models.saving import weights_sha256


def main() -> None:
    """Run the command."""
    parser = cli.parser(
        __doc__, "What a server missed while it was away is taken from the stages' files."
    )
    parser.add_argument("command", choices=["sync"], help="send what the run has not got")
    arguments = parser.parse_args()
    cli.run_command(
        lambda: sync(load_settings(arguments.params)),
        resume_hint="the same command starts it again",
    )


def sync(settings: Settings) -> None:
    """Find or fill the run, and add what all stages wrote. Raises UserError."""
    weights_sha256(paths.MODEL)
    store = open_store(settings.tracking, local_instead=False)
    try:
        run = complete(store, settings)
    except STORE_ERRORS as error:
        raise UserError(f"the MLflow store went away: {shorten(error)}; try again") from error
    print(f"run {run.run_id} has all that the files have")


if __name__ == "__main__":
    main()
