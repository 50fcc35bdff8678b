"""A trained model with its uses as methods; it takes what people have, and returns NumPy."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from vaelab.api.class_means import Means, means_of_sampler, save_means
from vaelab.api.detection import detect_images
from vaelab.api.editing import (
    ATTRIBUTE,
    Examples,
    attribute_shifts,
    class_shifts,
    example_means,
    requested_change,
)
from vaelab.api.incomplete import read_incomplete
from vaelab.api.inputs import label_numbers, one_label, read_images
from vaelab.api.results import Array, Latents, Restored, Scores
from vaelab.config import UserError
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.estimators.posterior_fit import can_be_fitted
from vaelab.evaluation.bounds import score_batch
from vaelab.evaluation.likelihood import fit_proposals
from vaelab.evaluation.reconstructions import compare_images
from vaelab.export.folder import check_license, read_evaluation, write_files
from vaelab.export.onnx_files import check_packages
from vaelab.inference.attributes import edit_each
from vaelab.inference.decoding import counterfactuals, decode_means, encode_means, interpolate
from vaelab.inference.detection import Detections
from vaelab.inference.inputs import latent_batch
from vaelab.inference.restoration import Sampling, check_restorable, restore
from vaelab.inference.sampling import samples, samples_by_label
from vaelab.models.model import Model
from vaelab.models.saving import CONFIG, ModelDescription, save_model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler, SamplerDescription, save_sampler

BATCH = 500
SAMPLER_FOLDER = "sampler"


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """A trained model: `vaelab.load` and `vaelab.train` return one.

    Images go in as arrays, tensors, pictures of Pillow or paths of files; one or many; floats from
    0 (black) to 1 (white) or integers from 0 to 255; [height, width] for gray ones, or with the
    channels first or last. They come out as floats from 0 to 1, [count, channel, height, width].
    Everything is NumPy's, or tensors of `as_tensors()`. `labels` are the images' classes, numbers
    or names, one for all or one each: a conditional model encodes and decodes with them, and as
    images of unknown labels without.

    `network` is PyTorch's module, `description` what is known about it, `history` the metrics of
    each epoch of `vaelab.train`.
    """

    network: Model
    description: ModelDescription
    sampler: Sampler | None = None
    sampler_description: SamplerDescription | None = None
    stored_class_means: Means | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    returns_tensors: bool = False

    def __repr__(self) -> str:
        """Return one line on what the model is."""
        drawn = self.sampler.title if self.sampler else "the prior"
        return (
            f"<{self.description.objective} with {self.network.latent_dim} latent dimensions of "
            f"images {list(self.network.image_shape)} of {self.description.dataset}, sampled from "
            f"{drawn}, on {self.device}>"
        )

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.network.parameters()).device

    def as_tensors(self) -> "TrainedModel":
        """Return the same model whose methods return tensors, on its device."""
        return dataclasses.replace(self, returns_tensors=True)

    @torch.no_grad()
    def encode(self, images: object, labels: object = None) -> Latents:
        """Return q(z|x) of images: its `mean` and `stddev`, [count, latent]."""
        given, pixels = self._given("encode", images, labels)
        found = [given.given_rows(rows).encode(pixels[rows]) for rows in _batches(pixels)]
        mean = torch.cat([posterior.mean for posterior in found])
        stddevs = [posterior.stddev for posterior in found if hasattr(posterior, "stddev")]
        return Latents(self._out(mean), self._out(torch.cat(stddevs)) if stddevs else None)

    def decode(self, latents: object, labels: object = None) -> Array:
        """Return the image of each latent [count, latent]: the mean of p(x|z)."""
        z = latent_batch(latents, self.network.latent_dim).to(self.device)
        return self._out(decode_means(self._with_labels(labels, len(z)), z))

    def reconstruct(self, images: object, labels: object = None) -> Array:
        """Return each image encoded and decoded, by its posterior mean."""
        given, pixels = self._given("reconstruct", images, labels)
        return self._out(decode_means(given, encode_means(given, pixels)))

    def sample(
        self,
        count: int = 16,
        *,
        label: object = None,
        seed: int = 0,
        source: str = "auto",
    ) -> Array:
        """Return `count` new images, of a label if one is given.

        They are decoded from latents of the sampler that was fitted to the model's latents, whose
        images are better, or of the prior: `source` chooses, and "auto" is the sampler where there
        is one. A label needs a sampler that was fitted to labeled images, or a conditional model.
        """
        sampler = self._sampler(source)
        if not isinstance(count, int) or count < 1:
            raise UserError(f"count must be a whole number of at least 1 (it is {count!r})")
        noise = rng_stream(seed, "samples", self.device)
        if label is None:
            return self._out(samples(self.network, sampler, count, noise))
        classes = sampler.classes if sampler else self.network.classes
        if not classes:
            raise UserError(
                "a sample of a label needs a conditional model, or a sampler that was fitted to "
                "labeled images"
            )
        number = one_label(label, classes, self.description.labels)
        return self._out(samples_by_label(self.network, sampler, [number], count, noise)[:, 0])

    @torch.no_grad()
    def score(
        self,
        images: object,
        labels: object = None,
        *,
        importance_samples: int = 100,
        proposal: str = "encoder",
        seed: int = 0,
        progress: bool = False,
    ) -> Scores:
        """Return nats per image: the bound and the importance-weighted likelihood.

        The latents that are weighted are drawn from the encoder's Gaussian, or from a proposal that
        is "fitted" to each image's posterior by Hamiltonian chains: the best estimate, a second or
        so an image slower. With the defaults, the numbers are those of the pipeline's evaluation.
        `progress` shows a bar on terminals.
        """
        given, pixels = self._given("score", images, labels)
        fitted = self._check_score(importance_samples, proposal)
        noise = rng_stream(seed, "evaluation/noise", self.device)
        samples = importance_samples if self.network.posterior == "gaussian" and not fitted else 1
        hidden = None if progress else True  # None: shown on terminals only
        total = samples * len(pixels)
        with tqdm(total=total, desc="score", unit_scale=True, disable=hidden, delay=1) as bar:
            parts = [
                score_batch(given.given_rows(rows), pixels[rows], samples, noise, bar.update)
                for rows in _batches(pixels)
            ]
        found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        neg_elbo = found["generation_loss"].double() + found["kl_loss"].double()
        nll, effective = found["nll"], found["effective_sample_size"]
        if fitted:
            own = fit_proposals(given, pixels, rng_stream(seed, FITTED_STREAM, self.device))
            estimate = importance_weighted_log_likelihood(
                given, pixels, own, importance_samples, rng_stream(seed, "likelihood", self.device)
            )
            nll, effective = -estimate.log_likelihood, estimate.effective_sample_size
            samples = importance_samples
        quality = compare_images(pixels, decode_means(given, found["mean"]))
        ssim = quality.get("ssim")
        return Scores(
            self._out(neg_elbo),
            self._out(nll),
            self._out(effective),
            samples,
            self._out(quality["psnr_db"]),
            None if ssim is None else self._out(ssim),
        )

    def edit(
        self,
        images: object,
        changes: Mapping[str, object],
        labels: object = None,
        *,
        examples: Examples | None = None,
    ) -> Array:
        """Return images changed to another class: `edit(images, {"class": 8})`.

        A conditional model decodes what it encoded with the images' `labels` under the new one.
        Another model shifts the latents by the difference of the mean latents of the two classes,
        which are those of `examples`, a pair (images, labels), or else of the images that it was
        trained on, or of its sampler. The class of an image without a label is that of the nearest
        mean.

        An attribute is added, or removed at a negative strength, by the mean latent of examples
        with it minus that of those without: `edit(images, {"attribute": 1.0}, examples=(others,
        has_it))`, where `has_it` is 1 or 0 for each.
        """
        what, value = requested_change(changes)
        given, pixels = self._given("edit", images, labels if self._sees_labels(what) else None)
        names = self.description.labels
        if what == ATTRIBUTE:
            shifts = attribute_shifts(self.network, len(pixels), value, examples)
        elif self.network.classes:
            target = one_label(value, self.network.classes, names)
            return self._out(counterfactuals(given, pixels, [target])[:, 0])
        else:
            means = self._means(examples)
            shifts = class_shifts(self.network, pixels, labels, value, means, names)
        return self._out(edit_each(given, pixels, shifts[:, None])[:, 0])

    def interpolate(
        self,
        first: object,
        second: object,
        steps: int = 9,
        labels: object = None,
        *,
        path: str = "spherical",
    ) -> Array:
        """Return the way from each first image to its second one, [pairs, steps, ...].

        The ends are the reconstructions. One image stands for as many as there are of the other.
        """
        starts, ends = (self._given("interpolate", part, None)[1] for part in (first, second))
        if 1 not in (len(starts), len(ends)) and len(starts) != len(ends):
            raise UserError(f"{len(starts)} first images and {len(ends)} second ones: no pairs")
        if steps < 2:
            raise UserError(f"steps must be at least 2, for both ends (it is {steps})")
        pairs = max(len(starts), len(ends))
        given = self._with_labels(labels, pairs)
        latents = [
            encode_means(given, part.expand(pairs, *part.shape[1:])) for part in (starts, ends)
        ]
        between = interpolate(latents[0], latents[1], steps, _path(path))
        return self._out(decode_means(given.with_columns(), between))

    def detect(
        self,
        images: object,
        normal: object,
        *,
        training: object = None,
        false_alarm_rate: float = 0.05,
        score: str = "combination",
        seed: int = 0,
    ) -> Detections:
        """Return how odd each image is for this model of normal ones, and where.

        `normal` are normal images that were not trained on. They set the threshold that a new
        normal image exceeds with probability `false_alarm_rate`. Half of them say what latents and
        pixels usually are, unless `training` has the images of the training. `score` names what
        decides: combination, neg_elbo, nll, complexity, reconstruction, surprise, latent_distance.
        """
        return detect_images(self.network, images, normal, training, seed, false_alarm_rate, score)

    def restore(
        self,
        images: object,
        mask: object = None,
        draws: int = 8,
        *,
        labels: object = None,
        importance_samples: int = 1000,
        pixel_noise: bool = False,
        truth: object = None,
        seed: int = 0,
    ) -> Restored:
        """Return images with their missing pixels restored: the mean, the spread and some draws.

        Missing are NaN in arrays of floats, and what `mask` marks: an array, a picture or files
        that are not 0 there, one for all images or one each; or a color, "#ff00ff", that pictures
        have there. Without `pixel_noise`, spread and draws are of decoded latents, as all images
        of a model; with it, they are those of p(x_missing|x_observed). `truth`, the images without
        gaps, adds the log-likelihood of the missing pixels. A second or so an image.
        """
        check_restorable(self.network, self.description.objective)
        sampling = Sampling(draws, importance_samples, pixel_noise)
        pixels = read_incomplete(images, mask, self.network.image_shape).to(self.device)
        given, known = self._with_labels(labels, len(pixels)), None
        if truth is not None:
            known = self._given("restore", truth, None)[1]
            if len(known) != len(pixels):
                raise UserError(f"{len(known)} images of truth for {len(pixels)} images")
        found = restore(
            given, pixels, sampling, rng_stream(seed, "restoration", self.device), truth=known
        )
        likelihood = found.log_likelihood
        return Restored(
            self._out(found.mean.clamp(0, 1)),
            self._out(found.stddev),
            self._out(found.draws.clamp(0, 1)),
            self._out(found.effective_sample_size),
            None if likelihood is None else self._out(likelihood),
        )

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder, for `vaelab.load`; with its sampler, if it has one."""
        target = Path(folder)
        save_model(target, self.network, self.description)
        # A sampler of another model that was saved there would be found beside this one.
        (target / SAMPLER_FOLDER / CONFIG).unlink(missing_ok=True)
        if self.sampler_description:
            save_sampler(target / SAMPLER_FOLDER, self.sampler, self.sampler_description)
        save_means(target, self.stored_class_means)

    def export(
        self,
        folder: str | Path,
        *,
        license: str = "unknown",
        metrics: str | Path | None = None,
    ) -> None:
        """Write a folder that stands alone: what `save` writes, ONNX, and a model card.

        ONNX Runtime runs encoder.onnx and decoder.onnx without PyTorch; preprocessing.json and
        labels.json say what goes in. The card, README.md, has the `license` of the weights, and the
        numbers of `metrics`, the metrics.json of an evaluation. Needs the packages onnx and
        onnxscript, the extra `onnx`.
        """
        check_license(license)
        check_packages()
        found = read_evaluation(metrics)
        self.save(folder)
        write_files(Path(folder), self.network, self.description, license, found)

    @cached_property
    def _class_means(self) -> Means | None:
        if self.stored_class_means is not None:
            return self.stored_class_means
        return means_of_sampler(self.sampler) if self.sampler and self.sampler.classes else None

    def _sees_labels(self, what: str) -> bool:
        """Return whether the labels of an edit go to the networks: else they choose the shift."""
        return what == ATTRIBUTE or bool(self.network.classes)

    def _means(self, examples: Examples | None) -> Means:
        """Return the mean latent of each class. Raises UserError where none are known."""
        if examples is not None:
            return example_means(self.network, examples, self.description.labels)
        if self._class_means is None:
            raise UserError(
                "edit needs images of the classes, edit(..., examples=(images, labels)): this "
                "model is not conditional and has no sampler that was fitted to labeled images"
            )
        return self._class_means

    def _given(self, use: str, images: object, labels: object) -> tuple[Model, Tensor]:
        """Return the model given the labels, and the images, on its device. Raises UserError."""
        if not self.network.has("encoder"):
            raise UserError(
                f"{use} needs an encoder, and this model ({self.description.objective}) has none: "
                "it can decode and sample"
            )
        pixels = read_images(images, self.network.image_shape).to(self.device)
        return self._with_labels(labels, len(pixels)), pixels

    def _with_labels(self, labels: object, count: int) -> Model:
        if labels is None:
            return self.network
        if not self.network.classes:
            raise UserError("labels: this model was trained without; leave them out")
        names = self.description.labels
        return self.network.given(label_numbers(labels, count, self.network.classes, names))

    def _sampler(self, source: str) -> Sampler | None:
        if source not in ("auto", "sampler", "prior"):
            raise UserError(f"unknown source {source}; valid: auto, sampler, prior")
        if source == "sampler" and self.sampler is None:
            raise UserError("this model has no sampler: use source='prior', or fit one to it")
        return None if source == "prior" else self.sampler

    def _check_score(self, importance_samples: int, proposal: str) -> bool:
        """Return whether proposals are to be fitted. Raises UserError for what is impossible."""
        if not self.network.has_bound:
            raise UserError(
                f"score needs a bound on the likelihood, and this model "
                f"({self.description.objective}) has none: it can encode, decode and sample"
            )
        if importance_samples < 1:
            raise UserError(f"importance_samples must be at least 1 (it is {importance_samples})")
        if proposal not in ("encoder", "fitted"):
            raise UserError(f"unknown proposal {proposal}; valid: encoder, fitted")
        if proposal == "fitted" and not can_be_fitted(self.network):
            raise UserError("proposals are fitted for Gaussian encoders only: use 'encoder'")
        return proposal == "fitted"

    def _out(self, values: Tensor) -> Array:
        return values if self.returns_tensors else values.cpu().numpy()


FITTED_STREAM = "evaluation/fitted-proposals"


def _path(name: str) -> Literal["spherical", "linear"]:
    if name == "spherical":
        return "spherical"
    if name == "linear":
        return "linear"
    raise UserError(f"unknown path {name}; valid: spherical, linear")


def _batches(images: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of each batch."""
    return torch.split(torch.arange(len(images), device=images.device), BATCH)
