"""Download and prepare the images of the comparison."""

from pipeline import cli, paths
from pipeline.comparison.variants import ComparisonConfig
from pipeline.download import download
from pipeline.prepare import work as prepare


def main() -> None:
    """Run the stage."""
    cli.run_command(data, resume_hint="`make compare` continues from here")


def data() -> None:
    """Fill data/comparison. Raises UserError."""
    settings = ComparisonConfig.load().base
    download(settings, paths.COMPARISON_RAW)
    prepare(settings, paths.COMPARISON_RAW, paths.COMPARISON_PREPARED)


if __name__ == "__main__":
    main()
