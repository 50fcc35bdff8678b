"""Draw what the model learnt: images it restores and invents, its latent space, its training."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pipeline import paths, stage
from pipeline.files import read_csv
from pipeline.records import add_results, run_of_model
from pipeline.tracking import open_store
from pipeline.trained import Trained
from vaelab import rendering
from vaelab.config import RenderSettings, Settings, UserError
from vaelab.data.batches import ImageBatches
from vaelab.data.dataset import PreparedData
from vaelab.figures import curves, grids, latents
from vaelab.models import Model
from vaelab.randomness import stream

Named = Iterator[tuple[str, Figure]]


def main() -> None:
    """Run the stage."""
    stage.run(render, __doc__)


def render(settings: Settings) -> None:
    """Write a PNG a figure, and add them to the model's run."""
    store = open_store(settings.tracking)
    trained = Trained.load(settings.machine)
    test = trained.batches("test")
    paths.RENDER.mkdir(parents=True, exist_ok=True)
    for name, figure in figures(trained.model, trained.data, test, settings.render):
        figure.savefig(paths.RENDER / f"{name}.png", dpi=settings.render.dpi)
    run = run_of_model(store, settings)
    add_results(run, "render", settings.render.model_dump(), paths.RENDER, {})
    print(f"drew {len(list(paths.RENDER.glob('*.png')))} figures in {paths.RENDER}")


def figures(
    model: Model, data: PreparedData, test: ImageBatches, settings: RenderSettings
) -> Named:
    """Draw all that applies to the model, one figure at a time."""
    samples = rendering.prior_samples(
        model, settings.samples, stream(settings.seed, "samples", test.device)
    )
    yield "samples", grids.samples_figure(_array(samples))
    table = LatentTable.read() if model.has("encoder") else None
    yield from _explored(model, table, settings)
    if table:
        yield from _restored(model, test, settings)
        yield from _latent_space(data, table, settings)
    yield from _training()


@dataclass(frozen=True)
class LatentTable:
    """What evaluation stored: each test image's posterior, [images, latent], and each dimension."""

    mean: np.ndarray
    stddev: np.ndarray
    kl_nats: np.ndarray
    active: np.ndarray

    @classmethod
    def read(cls) -> "LatentTable":
        """Read the files of the evaluate stage."""
        rows = read_csv(paths.LATENT_DIMENSIONS)
        try:
            with np.load(paths.TEST_LATENTS, allow_pickle=False) as file:
                mean, stddev = file["mean"], file["stddev"]
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{paths.TEST_LATENTS}: no latents ({error}); `dvc repro -s -f evaluate` makes them"
            ) from error
        kl = np.array([row["kl_nats"] for row in rows], np.float32)
        return cls(mean, stddev, kl, np.array([row["active"] == 1 for row in rows]))

    def most_kl(self, count: int) -> list[int]:
        """Name the dimensions with the most KL, most first."""
        return rendering.most_kl(torch.from_numpy(self.kl_nats), count)


def _restored(model: Model, test: ImageBatches, settings: RenderSettings) -> Named:
    order = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(test)))
    noise = stream(settings.seed, "pixels", test.device)
    originals = test.take(order[: settings.reconstructions], noise)
    decoded = rendering.reconstructions(model, originals)
    yield "reconstructions", grids.reconstructions_figure(_array(originals), _array(decoded))
    pairs = min(settings.interpolations, len(test) // 2)
    if not pairs:
        return
    first, second = test.take(order[: 2 * pairs], noise).chunk(2)
    between = rendering.interpolations(model, first, second, settings.interpolation_steps)
    figure = grids.interpolations_figure(_array(first), _array(second), _array(between))
    yield "interpolations", figure


def _explored(model: Model, table: LatentTable | None, settings: RenderSettings) -> Named:
    """Move through the latent space; without an encoder no dimension is known to matter more."""
    dimensions = range(model.latent_dim)
    chosen, plane, kl = (
        list(dimensions)[: settings.traversal_dimensions],
        list(dimensions)[:2],
        None,
    )
    if table:
        chosen, kl = table.most_kl(settings.traversal_dimensions), table.kl_nats
        plane = plane if model.latent_dim == 2 else table.most_kl(2)
    radius = settings.traversal_range
    moved = rendering.traversals(model, chosen, settings.traversal_steps, radius)
    yield "traversals", grids.traversals_figure(_array(moved), chosen, kl, radius)
    images = rendering.manifold(model, settings.manifold_size, plane)
    quantiles = rendering.gaussian_quantiles(settings.manifold_size).numpy()
    why = "the dimensions with the most KL" if table else "the first two dimensions"
    figure = grids.manifold_figure(_array(images), plane, quantiles, model.latent_dim, why)
    yield "manifold", figure


def _latent_space(data: PreparedData, table: LatentTable, settings: RenderSettings) -> Named:
    labels, names = data.labels("test"), data.info.class_names
    yield "latent_scatter", latents.latent_scatter(table.mean, labels, names, seed=settings.seed)
    noise = np.random.default_rng(settings.seed).standard_normal(table.mean.shape, np.float32)
    drawn = table.mean + table.stddev * noise
    chosen = table.most_kl(settings.histogram_dimensions)
    yield "aggregate_posterior", latents.aggregate_posterior_figure(drawn, chosen)
    yield "kl_per_dimension", curves.kl_bars_figure(table.kl_nats, table.active)


def _training() -> Named:
    rows = read_csv(paths.HISTORY)
    yield "losses", curves.loss_curves(_columns(rows))
    dimensions = read_csv(paths.KL_HISTORY)
    if dimensions:
        columns = _columns(dimensions)
        epochs = np.unique(columns["epoch"]).astype(np.int64)
        kl = columns["kl_nats"].reshape(len(epochs), -1)
        yield "kl_history", curves.kl_history_figure(epochs, kl)


def _columns(rows: list[dict[str, float]]) -> Mapping[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {k: np.array([row.get(k, np.nan) for row in rows], np.float32) for k in names}


def _array(images: Tensor) -> np.ndarray:
    result: np.ndarray = images.cpu().numpy()
    return result


if __name__ == "__main__":
    main()
