"""Draw reconstructions, samples, the latent space and the training curves of the model."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pipeline import cli, paths
from pipeline.artifacts import TrainedArtifacts
from pipeline.tracking.mirror import open_mirror
from vaelab.config import ArtifactError, RenderSettings, Settings
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.figures import curves, grids, latents
from vaelab.figures.attributes import attribute_arithmetic_figure, class_arithmetic_figure
from vaelab.figures.labels import counterfactuals_figure, label_samples_figure
from vaelab.figures.latent_maps import LatentMap, embedded_latents, latent_maps
from vaelab.figures.saving import figure_files, write_figures
from vaelab.inference import decoding, sampling
from vaelab.inference.attribute_editing import AttributeEditor
from vaelab.inference.latent_table import LatentTable
from vaelab.inference.traversal import image_traversals, map_manifold
from vaelab.models.model import Model
from vaelab.models.weights import weights_sha256
from vaelab.runtime.progress_bars import with_bar
from vaelab.runtime.random_streams import rng_stream
from vaelab.runtime.serialization import read_arrays, read_csv, read_table
from vaelab.samplers import Sampler, load_sampler

NamedFigures = Iterator[tuple[str, Figure]]
MAX_CLASSES = 10
OFF_PRIOR = {
    "title": "Traversals of single dimensions, around the mean latent",
    "column_title": "value of the dimension, in standard deviations of the latents",
}
# Columns that the table of latent dimensions must have for every model.
NEEDED = ("mean_variance", "aggregate_mean", "aggregate_stddev")
ALIKE = 0.01  # standard deviation of pixel values over decoded images, of [0, 1], that nobody sees
MAP_TITLE = "The t-SNE map of the latents, decoded: at each place the mean of the latents near it"
STEPS = (0.0, 0.5, 1.0, 1.5)  # multiples of an attribute's direction


def main() -> None:
    """Run the stage."""
    cli.run(render, __doc__)


def render(settings: Settings) -> None:
    """Write each figure in all formats, and log them to the model's run."""
    mirror = open_mirror("render", settings)
    trained = TrainedArtifacts.load(settings.machine)
    formats, dpi = settings.render.formats, settings.render.dpi
    # All are drawn before the first is written: a damaged file may stop the drawing.
    contents: dict[str, bytes] = {}
    drawn = figures(trained, settings.render)
    for name, figure in with_bar(drawn, "drawing", "figures"):
        contents |= figure_files(figure, name, formats, dpi)
    write_figures(paths.RENDER, contents)
    mirror.log()
    kinds = " and ".join(extension.upper() for extension in formats)
    print(f"drew {len(contents) // len(formats)} figures in {paths.RENDER}, as {kinds}")


def figures(trained: TrainedArtifacts, settings: RenderSettings) -> NamedFigures:
    """Draw the figures that apply to the model, one at a time."""
    model, data, test = trained.model, trained.data, trained.batches("test")
    sampler = load_sampler(paths.SAMPLER, trained.device, weights_sha256(paths.MODEL))
    yield from _samples(model, sampler, settings, test.device)
    table = read_latents(model.latent_dim) if model.has("encoder") else None
    # Discrete latents cannot be traversed.
    if not model.is_discrete:
        yield from _traversals(model, table, settings)
    if table and not model.is_discrete:
        yield from _image_traversals(model, test, table, settings)
    if table:
        yield from _reconstructions(model, test, settings)
        yield from _latent_space(model, data, test, table, settings)
        yield from _attribute_edits(trained, test, settings)
    if data.info.class_names:
        yield from _labels(model, sampler, test, data.info.class_names, settings)
    yield from _training()


def read_latents(latent_dim: int) -> LatentTable:
    """Load the evaluate stage's latents of the test images. Raises ArtifactError if they differ."""
    found = read_arrays(paths.TEST_LATENTS)
    columns = read_table(paths.LATENT_DIMENSIONS, *NEEDED)
    shapes = [found[name].shape[1:] for name in ("mean", "stddev") if name in found]
    lengths = {len(column) for column in columns.values()}
    if shapes != [(latent_dim,)] * 2 or lengths != {latent_dim}:
        raise ArtifactError(
            paths.TEST_LATENTS,
            f"this and {paths.LATENT_DIMENSIONS} must have {latent_dim} latent dimensions",
        )
    float32 = {name: column.astype(np.float32) for name, column in columns.items()}
    return LatentTable(found["mean"], found["stddev"], float32)


def _reconstructions(model: Model, test: ImageLoader, settings: RenderSettings) -> NamedFigures:
    order = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(test)))
    noise = rng_stream(settings.seed, "pixels", test.device)
    rows = order[: settings.reconstructions]
    originals = test.gather(rows, noise)
    decoded = decoding.reconstructions(model.given(test.labels_at(rows)), originals)
    yield "reconstructions", grids.reconstructions_figure(_array(originals), _array(decoded))
    pairs = min(settings.interpolations, len(test) // 2)
    if not pairs:
        return
    first, second = test.gather(order[: 2 * pairs], noise).chunk(2)
    between = decoding.interpolations(model, first, second, settings.interpolation_steps)
    figure = grids.interpolations_figure(_array(first), _array(second), _array(between))
    yield "interpolations", figure


def _traversals(model: Model, table: LatentTable | None, settings: RenderSettings) -> NamedFigures:
    """Draw traversals; without an encoder, of the first dimensions."""
    count, radius, size = settings.traversal_dimensions, settings.traversal_range, model.latent_dim
    frame = None if model.has_standard_prior or not table else table.frame(_device(model))
    chosen = table.top_dimensions(count) if table else list(range(size))[:count]
    images = decoding.traversals(model, chosen, settings.traversal_steps, radius, frame=frame)
    texts = {} if frame is None else OFF_PRIOR
    kl = table.kl_nats if table else None
    yield "traversals", grids.traversals_figure(_array(images), chosen, kl, radius, **texts)
    yield from _manifold(model, table, settings)


def _manifold(model: Model, table: LatentTable | None, settings: RenderSettings) -> NamedFigures:
    """Draw what a model of one or two latent dimensions decodes at the prior's quantiles."""
    size, count = model.latent_dim, settings.manifold_size
    if size <= 2:
        frame = None if model.has_standard_prior or not table else table.frame(_device(model))
        plane = list(range(size))
        images = _array(decoding.manifold(model, count, plane, frame))
        quantiles = decoding.gaussian_quantiles(count).numpy()
        yield "manifold", grids.manifold_figure(images, plane, quantiles)


def _decoded_map(
    model: Model, table: LatentTable, mapped: LatentMap, settings: RenderSettings
) -> NamedFigures:
    """Draw what places of a t-SNE map decode to, unless all images are alike."""
    points, means = (
        torch.from_numpy(x.astype(np.float32)).to(_device(model))
        for x in (mapped.points, table.mean[mapped.rows])
    )
    images = _array(map_manifold(model, means, points, settings.manifold_size))
    if np.nanstd(images, axis=(0, 1)).mean() >= ALIKE:
        yield "manifold", grids.map_figure(images, MAP_TITLE)


def _image_traversals(
    model: Model, test: ImageLoader, table: LatentTable, settings: RenderSettings
) -> NamedFigures:
    """Draw traversals around a test image."""
    order = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(test)))
    image = test.gather(order[:1], rng_stream(settings.seed, "pixels", test.device))
    given = model.given(test.labels_at(order[:1]))
    chosen = table.top_dimensions(settings.traversal_dimensions)
    steps, radius = settings.traversal_steps, settings.traversal_range
    frame = table.frame(_device(model))
    rows = image_traversals(given, image[0], chosen, frame, steps, radius)
    decoded = decoding.reconstructions(given, image)
    pair = _array(image)[0], _array(decoded)[0]
    figure = grids.image_traversals_figure(*pair, _array(rows), chosen, radius)
    yield "traversals_image", figure


def _latent_space(
    model: Model,
    data: PreparedData,
    test: ImageLoader,
    table: LatentTable,
    settings: RenderSettings,
) -> NamedFigures:
    labels, names = data.labels("test"), data.info.class_names
    standard, kl = model.has_standard_prior, table.kl_nats
    maps = _maps(table, settings.seed) if model.latent_dim > 1 else []
    scatter = latents.latent_scatter(
        table.mean, labels, names, seed=settings.seed, standard_prior=standard, maps=maps
    )
    yield "latent_scatter", scatter
    if maps:
        noise = rng_stream(settings.seed, "pixels", test.device)
        images_at = lambda rows: _array(test.gather(torch.from_numpy(rows), noise))  # noqa: E731
        yield "latent_images", latents.latent_images_figure(maps[0], images_at, labels, names)
    if maps and not maps[0].has_axes and not model.is_discrete:
        yield from _decoded_map(model, table, maps[0], settings)
    if standard:
        normal = np.random.default_rng(settings.seed).standard_normal(table.mean.shape, np.float32)
        sampled = table.mean + table.stddev * normal
        chosen = table.top_dimensions(settings.histogram_dimensions)
        yield "aggregate_posterior", latents.aggregate_posterior_figure(sampled, chosen)
    if kl is not None:
        active = table.columns["active"] == 1
        yield "kl_per_dimension", curves.kl_bars_figure(kl, active)


def _maps(table: LatentTable, seed: int) -> list[LatentMap]:
    try:
        embedded = embedded_latents(read_arrays(paths.EVALUATE_ARRAYS), len(table.mean))
    except ValueError as error:
        raise ArtifactError(paths.EVALUATE_ARRAYS, str(error)) from error
    return latent_maps(table.mean, seed, embedded=embedded)


def _attribute_edits(
    trained: TrainedArtifacts, test: ImageLoader, settings: RenderSettings
) -> NamedFigures:
    model, info = trained.model, trained.data.info
    classes, factors = info.class_names, info.factor_names
    if classes is None and factors is None:
        return
    train = trained.batches("train")
    editor = AttributeEditor.create(model, trained.data, train, test, settings.seed)
    # The latent of a model that sees labels need not tell classes apart.
    if classes is not None and not model.classes and (table := editor.classes(MAX_CLASSES)):
        source, target = (
            [classes[label] for label in chosen] for chosen in (table.source, table.target)
        )
        yield "classes", class_arithmetic_figure(_array(table.images), source, target)
    if factors is not None and (rows := editor.attributes(settings.attributes, STEPS)):
        names = [factors[column] for column in rows.columns]
        added, removed = _array(rows.added), _array(rows.removed)
        figure = attribute_arithmetic_figure(added, removed, STEPS, names, rows.effect_sizes)
        yield "attributes", figure


def _samples(
    model: Model, sampler: Sampler | None, settings: RenderSettings, device: torch.device
) -> NamedFigures:
    """Draw samples; of the prior too, if they are from a sampler."""
    labels = ", of labels as in the training split" if model.classes else ""
    prior = f"the prior, {model.prior_name}"
    sources: list[tuple[str, Sampler | None, str]] = [("samples", None, prior)]
    if sampler is not None:
        title = f"{sampler.title}, fitted to training images' latents"
        sources = [("samples", sampler, title), ("samples_prior", None, prior)]
    for name, source, title in sources:
        rng = rng_stream(settings.seed, "samples", device)
        images = sampling.samples(model, source, settings.samples, rng)
        yield name, grids.samples_figure(_array(images), f"Samples from {title}{labels}")


def _labels(
    model: Model,
    sampler: Sampler | None,
    test: ImageLoader,
    names: Sequence[str],
    settings: RenderSettings,
) -> NamedFigures:
    """Draw samples of each label, and test images under other labels, where that can be asked."""
    sampler = sampler if sampler and sampler.classes else None
    source = sampler or model
    if not source.classes:
        return
    frequencies = source.label_frequencies.cpu()
    shown = min(MAX_CLASSES, int((frequencies > 0).sum()))
    labels = sorted(frequencies.topk(shown).indices.tolist())
    columns = [names[label] for label in labels]
    noise = rng_stream(settings.seed, "samples by label", test.device)
    count = math.ceil(settings.samples / len(labels))
    grid = sampling.samples_by_label(model, sampler, labels, count, noise)
    title = f"Samples of each label, from {sampler.title if sampler else 'the prior'}"
    yield "samples_by_label", label_samples_figure(_array(grid), columns, title)
    if model.classes and model.has("encoder"):
        yield from _counterfactuals(model, test, labels, names, settings)


def _counterfactuals(
    model: Model,
    test: ImageLoader,
    labels: list[int],
    names: Sequence[str],
    settings: RenderSettings,
) -> NamedFigures:
    order = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(test)))
    rows = order[:MAX_CLASSES]
    images = test.gather(rows, rng_stream(settings.seed, "pixels", test.device))
    given = model.given(test.labels_at(rows))
    decoded = decoding.reconstructions(given, images)
    grid = decoding.counterfactuals(given, images, labels)
    grid = torch.cat([images[:, None], decoded[:, None], grid], dim=1)
    own = [] if given.labels is None else given.labels.tolist()
    named = [names[label] if label >= 0 else "unknown" for label in own]
    columns = [names[label] for label in labels]
    yield "counterfactuals", counterfactuals_figure(_array(grid), columns, named)


def _training() -> NamedFigures:
    rows = read_csv(paths.HISTORY)
    try:
        figure = curves.loss_curves(_columns(rows))
    except ValueError as error:
        raise ArtifactError(paths.HISTORY, str(error)) from error
    yield "losses", figure
    columns = read_table(paths.KL_HISTORY, "epoch", "dimension", "kl_nats")
    if columns:
        epochs = np.unique(columns["epoch"]).astype(np.int64)
        if columns["kl_nats"].size % len(epochs):
            raise ArtifactError(paths.KL_HISTORY, "its epochs have different numbers of rows")
        kl = columns["kl_nats"].astype(np.float32).reshape(len(epochs), -1)
        yield "kl_history", curves.kl_history_figure(epochs, kl)


def _columns(rows: list[dict[str, float]]) -> Mapping[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {k: np.array([row.get(k, np.nan) for row in rows], np.float32) for k in names}


def _device(model: Model) -> torch.device:
    return next(model.parameters()).device


def _array(images: Tensor) -> np.ndarray:
    result: np.ndarray = images.cpu().numpy()
    return result


if __name__ == "__main__":
    main()
