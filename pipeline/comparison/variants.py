"""The settings of the comparison and of each variant, and the command line of its stages."""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from pipeline import cli, paths
from vaelab.config import (
    Section,
    Settings,
    UserError,
    parse_section,
    parse_settings,
    read_yaml,
    with_changes,
)
from vaelab.config.section import Positive, Seed
from vaelab.runtime.host import watch


class ComparisonSettings(Section):
    """The section `comparison` of pipeline/comparison/params.yaml."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2, 3)
    test_images: Positive = 2000
    pictures: int = Field(default=10, ge=1, le=50)
    workers: Positive | None = None


@dataclass(frozen=True)
class ComparisonConfig:
    """The settings that all variants share, and the section `comparison`."""

    base: Settings
    comparison: ComparisonSettings

    @classmethod
    def load(cls) -> "ComparisonConfig":
        """Read pipeline/comparison/params.yaml. Raises UserError."""
        origin = str(paths.COMPARISON_PARAMS)
        content = read_yaml(paths.COMPARISON_PARAMS)
        if not isinstance(content, Mapping):
            raise UserError(f"{origin}: must be a mapping of sections, such as 'comparison:'")
        rest = dict(content)
        section = parse_section(ComparisonSettings, rest.pop("comparison", None) or {}, origin)
        return cls(parse_settings(rest, origin), section)

    def variant_settings(self, variant: str, seed: int) -> Settings:
        """Return the settings of a variant: `vae-flow` is the objective vae with the prior flow."""
        objective, _, prior = variant.partition("-")
        changes = {"train.objective": objective, "train.seed": seed, "machine.threads": 1}
        if prior:
            changes["model.prior"] = prior
        return with_changes(self.base, changes)

    def each_seed(self, work: Callable[[str, int], str], variant: str) -> None:
        """Call `work` for each seed in a process of its own, and print what it returns."""
        seeds = self.comparison.seeds
        workers = min(len(seeds), self.comparison.workers or os.cpu_count() or 1)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _watch_host) as pool:
            for line in pool.map(work, [variant] * len(seeds), seeds):
                print(line, flush=True)


def _watch_host() -> None:
    """End a process of the pool when the stage, DVC or the folder is gone."""
    watch(cli.host(with_parent=True))


def run(work: Callable[[str], None], description: str | None) -> None:
    """Run a stage for the variant named on the command line."""
    parser = argparse.ArgumentParser(description=description, epilog="`make compare` runs all.")
    parser.add_argument("variant", help="an objective, or objective-prior, such as vae-flow")
    arguments = parser.parse_args()
    cli.run_command(
        lambda: work(arguments.variant), resume_hint="`make compare` continues from here"
    )
