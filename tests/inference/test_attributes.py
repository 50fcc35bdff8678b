"""Attribute directions from labels, which images are edited, and that edits reach their target."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.evaluation.factories import CPU, LABELS, PIXELS
from vaelab.config import ModelSettings, TrainSettings
from vaelab.data.dataset import SPLITS, DatasetInfo, PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.inference import attributes, decoding
from vaelab.inference.attribute_editing import AttributeEditor
from vaelab.models.model import Model, build_model
from vaelab.objectives.vae import Vae
from vaelab.training.trainer import Trainer

NOISE = torch.Generator().manual_seed(0)
LATENT = 3


def two_clouds(count: int = 50, gap: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit Gaussians, the second moved along the first dimension; and which belong to it."""
    latents = torch.randn(2 * count, LATENT, generator=torch.Generator().manual_seed(1))
    present = torch.arange(2 * count) % 2 == 1
    latents[present, 0] += gap
    return latents, present


# --- directions


def test_a_direction_is_the_difference_of_the_two_means():
    latents = torch.tensor([[1.0, 0], [3.0, 2], [0.0, 10], [4.0, 0]])
    direction = attributes.attribute_direction(latents, torch.tensor([True, True, False, False]))
    # (1 + 3) / 2 - (0 + 4) / 2 = 0; (0 + 2) / 2 - (10 + 0) / 2 = -4
    torch.testing.assert_close(direction, torch.tensor([0.0, -4.0]))


def test_the_direction_between_two_classes_is_that_of_an_attribute():
    latents, present = two_clouds()
    direction = attributes.class_direction(latents, present.long(), 0, 1)
    torch.testing.assert_close(direction, attributes.attribute_direction(latents, present))
    back = attributes.class_direction(latents, present.long(), 1, 0)
    torch.testing.assert_close(back, -direction)


def test_a_step_of_one_shifts_one_class_mean_to_the_other():
    latents, labels = torch.randn(90, LATENT, generator=NOISE), torch.arange(90) % 3
    for source, target in itertools.product(range(3), repeat=2):
        direction = attributes.class_direction(latents, labels, source, target)
        moved = attributes.shift(latents[labels == source], direction, [1.0])[:, 0]
        torch.testing.assert_close(moved.mean(0), latents[labels == target].mean(0))


def test_all_directions_between_classes_match_single_ones():
    latents, labels = torch.randn(40, LATENT, generator=NOISE), torch.arange(40) % 4
    directions = attributes.class_directions(latents, labels, [2, 0], [0, 1, 2])
    assert directions.shape == (2, 3, LATENT)
    assert torch.equal(directions[0, 2], torch.zeros(LATENT))
    for (i, source), (k, target) in itertools.product(enumerate([2, 0]), enumerate([0, 1, 2])):
        single = attributes.class_direction(latents, labels, source, target)
        assert torch.equal(directions[i, k], single)


@pytest.mark.parametrize(("value", "having"), [(True, 5), (False, 0)])
def test_an_attribute_that_all_or_none_has_gives_no_direction(value, having):
    with pytest.raises(ValueError, match=f"without the attribute: {having} of 5 latents have"):
        attributes.attribute_direction(torch.ones(5, 2), torch.full((5,), value))


def test_a_class_without_latents_gives_no_direction():
    labels = torch.tensor([0, 0, 2])
    with pytest.raises(ValueError, match="no latent is of class 1, 7"):
        attributes.class_directions(torch.ones(3, 2), labels, [0, 2], [1, 2, 7])


def test_steps_are_multiples_of_the_direction():
    latents, direction = torch.randn(2, LATENT, generator=NOISE), torch.tensor([1.0, 0, -2])
    moved = attributes.shift(latents, direction, (0, 1, -0.5))
    assert moved.shape == (2, 3, LATENT)
    assert torch.equal(moved[:, 0], latents)
    torch.testing.assert_close(moved[:, 1], latents + direction)
    torch.testing.assert_close(moved[:, 2], latents - direction / 2)


# --- which attributes, which images


def test_the_effect_size_is_the_gap_in_standard_deviations():
    latents, present = two_clouds(count=40_000)
    # Each of the measured halves has 20,000 points, so d has a standard error of
    # sqrt(2 / 20,000 + 4^2 / (4 * 20,000)) = 0.017 (Hedges & Olkin 1985, chapter 5).
    assert attributes.effect_size(latents, present) == pytest.approx(4.0, abs=6 * 0.017)


def test_a_random_attribute_of_few_images_has_no_effect():
    """Measured on the latents that gave the direction, 10 of 2000 in 256 dimensions lie far out."""
    latents, present = torch.randn(2000, 256, generator=NOISE), torch.arange(2000) < 10
    direction = attributes.attribute_direction(latents, present)
    projected = latents @ direction
    naive = (projected[present].mean() - projected[~present].mean()) / projected.std()
    assert naive > 4  # |direction| = sqrt(256 / 10) = 5.1
    # The mean of 5 measured ones has a standard error of 1 / sqrt(5) standard deviations.
    assert abs(attributes.effect_size(latents, present)) < 6 / math.sqrt(5)


def test_constant_latents_have_no_effect():
    assert attributes.effect_size(torch.full((20, 2), 0.1), torch.arange(20) < 9) == 0.0


def test_too_few_latents_have_no_effect_size():
    with pytest.raises(ValueError, match=r"needs 4 latents with and without .*, got 3 and 7"):
        attributes.effect_size(torch.zeros(10, 2), torch.arange(10) < 3)


def test_attributes_are_sorted_by_effect_size_and_other_factors_are_skipped():
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(400, 2, generator=generator)
    weak = latents[:, 1] + torch.randn(400, generator=generator) > 0
    strong = latents[:, 0] > 0
    columns = {
        "weak": weak.long(),
        "one value": torch.ones(400, dtype=torch.int64),
        "three values": torch.arange(400) % 3,
        "rare": (torch.arange(400) < 3).long(),
        "strong": strong.long(),
        "strong again": strong.long(),
        "one and two": 1 + strong.long(),
    }
    factors = torch.stack(list(columns.values()), dim=1)
    sizes = attributes.strongest_attributes(latents, factors, 10)
    assert [list(columns)[column] for column in sizes] == ["strong", "strong again", "weak"]
    assert sizes[4] == attributes.effect_size(latents, strong)
    assert list(attributes.strongest_attributes(latents, factors, 1)) == [4]


def test_the_most_frequent_classes_are_in_ascending_order():
    labels = torch.tensor([3, 3, 3, 0, 1, 1, 5, 5])
    assert attributes.most_frequent(labels, 2) == [1, 3]  # of 1 and 5, both two images, the lower
    assert attributes.most_frequent(labels, 3) == [1, 3, 5]
    assert attributes.most_frequent(labels, 10) == [0, 1, 3, 5]


@pytest.mark.parametrize(("count", "limit"), [(7, 10), (10, 10), (19, 10), (162_770, 10_000)])
def test_rows_are_evenly_spaced(count, limit):
    rows = attributes.subsample_rows(count, limit)
    assert len(rows) == min(count, limit)
    gaps = torch.cat([rows, torch.tensor([count])]).diff()
    assert rows[0] == 0
    assert gaps.min() == count // len(rows)
    assert gaps.max() == -(-count // len(rows))


def small_model(latents: int = LATENT) -> Model:
    chosen = ModelSettings(network="mlp", hidden=(16,), latent_dim=latents)
    return build_model(chosen, (1, 8, 8)).eval()


def test_encoded_rows_match_encoded_images():
    model, batches = small_model(), ImageLoader(PIXELS, CPU)
    rows = attributes.subsample_rows(len(PIXELS), 1201)  # three parts, the last of one image
    expected = decoding.encode_means(model, batches.gather(rows, NOISE))
    torch.testing.assert_close(attributes.encode_rows(model, batches, rows, NOISE), expected)


def test_editing_decodes_the_shifted_means():
    model, images = small_model(), torch.rand(2, 1, 8, 8, generator=NOISE)
    direction = torch.tensor([1.0, -1, 2])
    edited = attributes.edit(model, images, direction, [0, 1.5])
    assert edited.shape == (2, 2, 1, 8, 8)
    torch.testing.assert_close(edited[:, 0], decoding.reconstructions(model, images))
    moved = model.encode(images).mean + 1.5 * direction
    torch.testing.assert_close(edited[:, 1], decoding.decode_means(model, moved))
    each = attributes.edit_each(model, images, torch.stack([direction, -direction])[:, None])
    torch.testing.assert_close(each[0, 0], attributes.edit(model, images, direction, [1])[0, 0])
    torch.testing.assert_close(each[1, 0], attributes.edit(model, images, direction, [-1])[1, 0])


# --- test images


TEST_COUNT = 100


def prepared(labels: bool = True, factors: np.ndarray | None = None) -> PreparedData:
    """The digits, sorted by class; the last 100 images by chance are the test split."""
    order = np.random.default_rng(3).permutation(len(PIXELS))
    rows = {"train": order[:-TEST_COUNT], "validation": order[:10], "test": order[-TEST_COUNT:]}
    rows = {split: chosen[np.argsort(LABELS[chosen])] for split, chosen in rows.items()}
    arrays = {f"{split}_images.npy": PIXELS[chosen] for split, chosen in rows.items()}
    if labels:
        arrays |= {f"{split}_labels.npy": LABELS[chosen] for split, chosen in rows.items()}
    if factors is not None:
        arrays |= {f"{split}_factors.npy": factors[chosen] for split, chosen in rows.items()}
    info = DatasetInfo(
        name="digits",
        image_shape=(1, 8, 8),
        counts={split: len(rows[split]) for split in SPLITS},
        class_names=tuple("0123456789") if labels else None,
        factor_names=None if factors is None else tuple(f"f{k}" for k in range(factors.shape[1])),
        levels=17,
        binarization="none",
        seed=0,
        sha256={},
        origin="",
    )
    return PreparedData(info, arrays)


def make_editor(data: PreparedData, model: Model | None = None, seed: int = 0) -> AttributeEditor:
    train, test = ImageLoader(data.images("train"), CPU), ImageLoader(data.images("test"), CPU)
    return AttributeEditor.create(model or small_model(), data, train, test, seed)


def rows_of(data: PreparedData, images: torch.Tensor) -> list[int]:
    """Find images among the test split's."""
    pixels = torch.from_numpy(data.images("test")).float() / 255
    return [int((pixels == image).flatten(1).all(1).nonzero()[0]) for image in images]


def test_an_image_of_each_class_is_edited_to_every_class():
    data, model = prepared(), small_model()
    table = make_editor(data, model).classes(limit=10)
    labels = data.labels("test")
    assert table is not None
    assert labels is not None
    assert table.images.shape == (10, 12, 1, 8, 8)
    assert table.source == table.target == list(range(10))
    real = table.images[:, 0]
    assert list(labels[rows_of(data, real)]) == table.source
    torch.testing.assert_close(table.images[:, 1], decoding.reconstructions(model, real))
    stayed = table.images[torch.arange(10), 2 + torch.arange(10)]
    torch.testing.assert_close(stayed, table.images[:, 1])
    means = decoding.encode_means(model, torch.from_numpy(data.images("train")).float() / 255)
    known = data.labels("train")
    assert known is not None
    direction = attributes.class_direction(means, torch.from_numpy(known), 4, 9)
    expected = attributes.edit(model, real[4:5], direction, [1])[0, 0]
    torch.testing.assert_close(table.images[4, 2 + 9], expected)


def test_the_seed_chooses_the_images():
    data = prepared()
    tables = [make_editor(data, seed=seed).classes(3) for seed in (1, 1, 2)]
    first, again, other = (table.images for table in tables if table is not None)
    assert first.shape == (3, 5, 1, 8, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_class_without_a_test_image_is_a_target():
    data = prepared()
    labels = data.labels("test")
    assert labels is not None
    labels[labels == 3] = 5
    table = make_editor(data).classes(limit=10)
    assert table is not None
    assert table.source == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert table.target == list(range(10))
    assert table.images.shape[:2] == (9, 12)


def test_without_two_classes_there_is_no_class_table():
    assert make_editor(prepared(labels=False)).classes(10) is None
    assert make_editor(prepared()).classes(1) is None
    assert make_editor(prepared()).attributes(8, [0, 1]) is None
    assert make_editor(prepared(factors=LABELS[:, None])).attributes(8, [0, 1]) is None


def test_attributes_are_added_to_images_without_and_removed_from_images_with_them():
    bright = PIXELS.mean((1, 2, 3)) > np.median(PIXELS.mean((1, 2, 3)))
    noise = np.random.default_rng(0).random(len(LABELS)) < 0.5
    factors = np.stack([noise, LABELS, bright, LABELS % 2], axis=1).astype(np.int64)
    data, model = prepared(factors=factors), small_model()
    table = make_editor(data, model).attributes(2, [0.0, 1.0])
    known = data.factors("test")
    assert table is not None
    assert known is not None
    assert sorted(table.columns) == [2, 3]
    assert table.effect_sizes == sorted(table.effect_sizes, reverse=True)
    assert table.added.shape == table.removed.shape == (2, 3, 1, 8, 8)
    for value, sign, shown in ((0, 1, table.added), (1, -1, table.removed)):
        real = shown[:, 0]
        assert (known[rows_of(data, real), table.columns] == value).all()
        torch.testing.assert_close(shown[:, 1], decoding.reconstructions(model, real))
        train = torch.from_numpy(data.images("train")).float() / 255
        present = torch.from_numpy(factors_of_train(data)[:, table.columns[0]] == 1)
        direction = attributes.attribute_direction(decoding.encode_means(model, train), present)
        expected = attributes.edit(model, real[:1], direction, [sign])[0, 0]
        torch.testing.assert_close(shown[0, 2], expected)


def factors_of_train(data: PreparedData) -> np.ndarray:
    factors = data.factors("train")
    assert factors is not None
    return factors


def test_an_attribute_that_every_test_image_has_is_left_out():
    data = prepared(factors=np.stack([LABELS % 2, LABELS < 5], axis=1).astype(np.int64))
    factors = data.factors("test")
    assert factors is not None
    factors[:, 0] = 1
    table = make_editor(data).attributes(8, [0, 1])
    assert table is not None
    assert table.columns == [1]


def test_edited_images_are_classified_as_their_target():
    """A classifier of real digits predicts the target class of edited images of a trained model."""
    data = prepared()
    splits = [ImageLoader(data.images(split), CPU) for split in ("train", "test")]
    settings = ModelSettings(network="mlp", hidden=(128,), latent_dim=10)
    model = build_model(settings, (1, 8, 8))
    Trainer(model, Vae(), TrainSettings(epochs=40, learning_rate=3e-3), *splits).fit()
    model.eval()
    train, test = (data.images(split).reshape(-1, 64) / 255 for split in ("train", "test"))
    reader = LogisticRegression(max_iter=1000).fit(train, data.labels("train"))
    assert reader.score(test, data.labels("test")) > 0.9
    editor = make_editor(data, model)
    own = torch.from_numpy(np.array(data.labels("test")))
    labels = torch.from_numpy(np.array(data.labels("train")))
    directions = attributes.class_directions(editor.latents, labels, own.tolist(), range(10))
    images = splits[1].gather(torch.arange(TEST_COUNT), NOISE)
    moved = attributes.edit_each(model, images, directions)
    read = reader.predict(moved.reshape(-1, 64).numpy()).reshape(TEST_COUNT, 10)
    right = (read == np.arange(10))[own[:, None] != torch.arange(10)]
    # By chance 1 of 10 is classified as its target. The 9 edits of an image are correlated, so only
    # the 100 images count: 0.1 + 6 sqrt(0.1 * 0.9 / 100) = 0.28. It is 0.90.
    assert right.mean() > 0.1 + 6 * math.sqrt(0.1 * 0.9 / TEST_COUNT)
