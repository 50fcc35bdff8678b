"""The judgement at the top of the page: one or two sentences on the model as a whole.

What would make the rest of the page misleading comes first: a training that has hardly begun, a
latent without information about its image or a decoder that ignores it, memorized training images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.posterior_collapse import (
    Diagnosis,
    describe_collapse,
    gain_over_mean_image,
    has_collapsed,
    is_encoder_ignored,
    suggestions_for_ignored,
)
from vaelab.report.training_course import TrainingCourse
from vaelab.runtime.formatting import format_number

Kind = Literal["undertrained", "collapsed", "overfitted", "sound", "samples_only"]

# Trainings of so few epochs have no end that could be compared with their start.
FEW_EPOCHS = 2
# A training whose last tenth brought more of the whole fall of the loss than this, and more than
# this in nats, ended early.
LATE_SHARE, LATE_NATS = 0.05, 0.5
# A gap between test and training images, or a rise of the validation loss after the best epoch, of
# more than this share of the whole fall is overfitting, if it is beyond the noise of the images.
OVERFITTED_SHARE = 0.2
STANDARD_ERRORS = 3.0
# Samples of a sampler that are closer to real images by this factor are the ones to use.
SAMPLER_GAIN = 1.25
DISTANCE = "Fréchet distance in the features of a classifier of these images"


@dataclass(frozen=True)
class Judgement:
    """What kind of model this is, in one or two sentences."""

    kind: Kind
    text: str


def judge(result: EvaluationResult) -> Judgement:
    """Return the judgement of a model; what was not measured is not judged."""
    course, diagnosis = TrainingCourse.of(result.history), describe_collapse(result)
    if not result.has_encoder:
        return Judgement("samples_only", _samples_only(result))
    if course and course.epochs <= FEW_EPOCHS:
        return Judgement("undertrained", _hardly_begun(course))
    if has_collapsed(result):
        return Judgement("collapsed", _collapsed(course, diagnosis))
    if is_encoder_ignored(result):
        return Judgement("collapsed", _ignored(result, course, diagnosis))
    if course and _ended_early(course):
        return Judgement("undertrained", _undertrained(course))
    if course and (found := _overfitted(result, course)):
        return Judgement("overfitted", found)
    return Judgement("sound", _sound(result, diagnosis, course))


def _hardly_begun(course: TrainingCourse) -> str:
    epochs = f"{course.epochs} epoch{'s' if course.epochs > 1 else ''}"
    return (
        f"This model has hardly been trained: {epochs} cannot show where the loss will end. "
        "Train it longer (train.epochs) before reading on; the numbers below describe its start."
    )


def _collapsed(course: TrainingCourse | None, diagnosis: Diagnosis | None) -> str:
    text = (
        "The posterior has collapsed: a latent carries almost no information about its image, so "
        "all images are reconstructed alike, and samples look like their average."
    )
    return _with_advice(text, course, diagnosis.suggestions if diagnosis else ())


def _ignored(
    result: EvaluationResult, course: TrainingCourse | None, diagnosis: Diagnosis | None
) -> str:
    gain = format_number(gain_over_mean_image(result) or 0.0, 2)
    text = (
        "The encoder is ignored: reconstructions are hardly closer to their images than the "
        f"mean image is (PSNR: {gain} dB more)"
    )
    if diagnosis:
        count, total = diagnosis.informative, result.description.model.latent_dim
        text += (
            f", although {count} of {total} latent dimensions carry information about the image: "
            "the decoder does not use it"
        )
    return _with_advice(f"{text}.", course, suggestions_for_ignored(result))


def _with_advice(text: str, course: TrainingCourse | None, suggestions: Sequence[str]) -> str:
    if course and _ended_early(course):
        return f"{text} The loss was still falling: train longer first (train.epochs)."
    return f"{text} Try {suggestions[0]}." if suggestions else text


def _ended_early(course: TrainingCourse) -> bool:
    return course.late_fall > max(LATE_NATS, LATE_SHARE * course.fall)


def _undertrained(course: TrainingCourse) -> str:
    late = format_number(course.late_fall, 2)
    share = f"{course.late_fall / course.fall:.0%}"
    return (
        f"Training ended too early: in the last tenth of its {course.epochs} epochs the validation "
        f"loss still fell by {late} nats, {share} of its whole fall. Train longer, such as "
        f"train.epochs: {3 * course.epochs}, before comparing this model with others."
    )


def _overfitted(result: EvaluationResult, course: TrainingCourse) -> str:
    """Return the judgement of an overfitted model, "" of another one."""
    gap, noise = _gap(result, course), _noise(result)
    limit = max(OVERFITTED_SHARE * course.fall, noise)
    parts = []
    if gap is not None and gap > limit:
        parts.append(
            f"test images cost {format_number(gap, 2)} nats more than training images"
            f"{_share(gap, course, 'above')}"
        )
    if course.rise > limit:
        rise = format_number(course.rise, 2)
        end = f"epoch {course.best_epoch} of {course.epochs}"
        parts.append(f"the validation loss rose by {rise} nats after {end}")
    if not parts:
        return ""
    kept = f" The weights are those of epoch {course.best_epoch}." if course.rise > limit else ""
    return (
        f"The model has overfitted: {', and '.join(parts)}.{kept} More images, a smaller network "
        "or fewer epochs would reduce the gap."
    )


def _gap(result: EvaluationResult, course: TrainingCourse) -> float | None:
    """Return the negative ELBO of test images above that of training images, in nats."""
    test = result.value("test.neg_elbo_nats")
    trained = course.train_neg_elbo
    return None if test is None or trained is None else test - trained


def _share(gap: float, course: TrainingCourse, side: Literal["above", "below"]) -> str:
    """Say what part of the whole fall of the loss a gap is, "" where it never fell."""
    if course.fall <= 0:
        return ""
    return (
        f" ({gap / course.fall:.0%} of the {format_number(course.fall, 2)} nats that the loss fell "
        f"in training, {side} the {OVERFITTED_SHARE:.0%} that count as overfitting)"
    )


def _noise(result: EvaluationResult) -> float:
    return STANDARD_ERRORS * (result.value("test.neg_elbo_standard_error_nats") or 0.0)


def _sound(
    result: EvaluationResult, diagnosis: Diagnosis | None, course: TrainingCourse | None
) -> str:
    parts = []
    if diagnosis:
        count, total = diagnosis.informative, result.description.model.latent_dim
        parts.append(f"{count} of {total} latent dimensions carry information about the image")
    elif error := result.value("test.mean_squared_error"):
        parts.append(f"reconstructions of test images differ by {error**0.5:.1%} of the range")
    gap = _gap(result, course) if course else None
    if gap is not None:
        near = abs(gap) <= _noise(result)
        more = f"{format_number(abs(gap), 2)} nats {'more' if gap > 0 else 'less'} than"
        share = _share(gap, course, "below") if course and gap > 0 and not near else ""
        parts.append(
            f"test images cost {'about as much as' if near else more} training images{share}"
        )
    if course:
        parts.append("the loss had all but stopped falling when training ended")
    listed = ", ".join(parts[:-1]) + (", and " if len(parts) > 1 else "") + "".join(parts[-1:])
    first = f"No failure was found: {listed}." if parts else "No failure was found."
    return f"{first} {_which_samples(result)}".strip()


def _which_samples(result: EvaluationResult) -> str:
    """Say that a sampler draws better images than the prior, "" if it does not."""
    name = "classifier_frechet_distance"
    prior, sampler = result.value(f"samples.{name}"), result.value(f"sampler.{name}")
    if not prior or not sampler or prior < SAMPLER_GAIN * sampler:
        return ""
    times = format_number(prior / sampler, 2)
    return (
        "For new images use the fitted sampler: samples of the prior are "
        f"{times} times as far from real images, by the {DISTANCE}."
    )


def _samples_only(result: EvaluationResult) -> str:
    objective = result.description.objective
    text = f"A {objective} has no encoder, so it is judged by its samples only"
    name = "samples.classifier_frechet_distance"
    found, floor = result.value(name), result.value(f"{name}_floor")
    if not found or not floor:
        return f"{text}."
    times = format_number(found / floor, 2)
    return (
        f"{text}: by the {DISTANCE}, they are {times} times as far from test images as training "
        "images are."
    )
