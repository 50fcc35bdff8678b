"""The settings of the comparison and of each variant, and the command line of its stages."""

import argparse
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

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
from vaelab.config.choices import SamplerName
from vaelab.config.section import Positive, Seed
from vaelab.runtime.host import watch

Variants = dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], dict[str, Any]]


class ComparisonSettings(Section):
    """The section `comparison` of pipeline/comparison/params.yaml.

    `variants` has the settings, by dotted name, in which each variant differs from the others.
    """

    variants: Annotated[Variants, Field(min_length=1)] = {"vae": {}}
    samplers: tuple[SamplerName, ...] = ("gaussian", "mixture", "flow_matching")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    test_images: Positive = 2000
    pictures: int = Field(default=16, ge=1, le=50)
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
        content = read_yaml(cli.params_file(paths.COMPARISON_PARAMS))
        if not isinstance(content, Mapping):
            raise UserError(f"{origin}: must be a mapping of sections, such as 'comparison:'")
        rest = dict(content)
        section = parse_section(ComparisonSettings, rest.pop("comparison", None) or {}, origin)
        base = parse_settings(rest, origin)
        if base.data.missing != "none":
            raise UserError(f"{origin}: data.missing: the comparison needs whole images: set none")
        return cls(base, section)

    def variant_settings(self, variant: str, seed: int) -> Settings:
        """Return the settings of a variant. Raises UserError for one that is not in the file."""
        variants = self.comparison.variants
        if variant not in variants:
            raise UserError(
                f"{paths.COMPARISON_PARAMS}: comparison.variants has no {variant}; it has "
                f"{', '.join(variants)}"
            )
        own = {"train.seed": seed, "machine.threads": 1}
        return with_changes(self.base, variants[variant] | own)

    def each_seed(self, work: Callable[[str, int], str], variant: str) -> None:
        """Call `work` for each seed in a process of its own, and print what it returns.

        All run at the same time unless `workers` says otherwise: three on two cores, which then
        wait for one another, finish before two followed by one.
        """
        seeds = self.comparison.seeds
        workers = min(len(seeds), self.comparison.workers or len(seeds))
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
    parser.add_argument("variant", help="a name in comparison.variants, such as vae-flow")
    arguments = parser.parse_args()
    cli.run_command(
        lambda: work(arguments.variant), resume_hint="`make compare` continues from here"
    )
