"""The group `sampler`: samples of a sampler fitted to the latents, and the two-stage likelihood."""

from dataclasses import replace

from vaelab.metrics import samples
from vaelab.metrics.spec import NATS, MetricSpec, Thresholds

DAI_WIPF = "Dai & Wipf 2019, section 4, arXiv:1903.05789"
COMPUTED_BY = "vaelab.evaluation.two_stage.two_stage_metrics"

LIKELIHOOD = (
    MetricSpec(
        names=("sampler.neg_elbo_gain_nats",),
        title="Gain of the bound by the sampler",
        unit=NATS,
        direction="higher",
        section="samples",
        computed_by=COMPUTED_BY,
        standard_error="sampler.neg_elbo_gain_standard_error_nats",
        what="How much lower the negative ELBO is with the sampler's density as prior, on the same "
        "test images and samples of their posteriors.",
        good="Above 0: the sampler fits the latents of test images better than the prior does.",
        caveat="The decoder is the same. It is the part of the aggregate posterior's divergence "
        "from the prior that the sampler has learned.",
        source=DAI_WIPF,
    ),
    MetricSpec(
        names=("sampler.neg_elbo_nats",),
        title="Negative ELBO with the sampler as prior",
        unit=NATS,
        direction="lower",
        section="samples",
        computed_by=COMPUTED_BY,
        what="The bound of the two-stage model: decoder, and the sampler's density as prior. On "
        "fewer test images than the other bounds.",
        good="Below the model's own.",
        caveat="For a conditional sampler, ln p(z) is bounded by ln p(z|y) + ln p(y) with the "
        "image's label y.",
        source=DAI_WIPF,
    ),
    MetricSpec(
        names=("sampler.kl_loss_nats",),
        title="KL loss with the sampler as prior",
        unit=NATS,
        direction="lower",
        section="samples",
        computed_by=COMPUTED_BY,
        what="The divergence of posteriors from the sampler's density.",
        good="Below the model's own KL loss, which is measured from the prior.",
        source=DAI_WIPF,
        interpretation={"none": "The rate at which latents are coded with the sampler."},
    ),
    MetricSpec(
        names=("sampler.nll_nats",),
        title="NLL with the sampler as prior",
        unit=NATS,
        direction="lower",
        section="samples",
        computed_by=COMPUTED_BY,
        what="Negative log-likelihood of the two-stage model, from K samples of an equal mixture "
        "of the encoder's posterior and the fitted proposal.",
        good="Below the model's own.",
        caveat="An upper bound, that falls with more samples: few, because the sampler's density "
        "is slow to compute, and the proposals fit the posterior under the model's own prior.",
        source=DAI_WIPF,
    ),
    MetricSpec(
        names=("sampler.nll_gain_nats",),
        title="Gain of the NLL by the sampler",
        unit=NATS,
        direction="higher",
        section="samples",
        computed_by=COMPUTED_BY,
        standard_error="sampler.nll_gain_standard_error_nats",
        what="How much lower the negative log-likelihood is with the sampler's density as prior, "
        "on the same images and samples.",
        good="Above 0.",
        caveat="Too low where few samples are effective. The gain of the bound need not be one of "
        "the likelihood: a sampler fits where the encoder's posteriors lie, not the true ones.",
        source=DAI_WIPF,
        interpretation={"none": "On the same samples as with the prior."},
    ),
    MetricSpec(
        names=("sampler.nll_importance_samples",),
        title="Importance samples of the NLL with the sampler",
        unit="samples per image",
        direction="neither",
        section="samples",
        computed_by=COMPUTED_BY,
        what="K of the importance-weighted NLL of the two-stage model.",
        good="The more the better.",
        interpretation={"none": "From {value:.0f} samples of each posterior."},
    ),
    MetricSpec(
        names=("sampler.nll_effective_sample_size",),
        title="Effective sample size of the NLL with the sampler",
        unit="samples",
        direction="higher",
        section="samples",
        computed_by=COMPUTED_BY,
        what="How many equally weighted samples the weighted ones are worth.",
        good="Near K.",
        caveat="Near 1 a single sample decides the estimate, and the NLL is too high.",
        interpretation={"none": "Worth {value:.1f} equally weighted samples."},
    ),
    MetricSpec(
        names=("sampler.likelihood_images",),
        title="Test images of the likelihood with the sampler",
        unit="images",
        direction="neither",
        section="samples",
        computed_by=COMPUTED_BY,
        what="The number of test images whose likelihood was computed with the sampler as prior.",
        good="The more the better.",
        interpretation={"none": "Chosen at random."},
    ),
)

LABELS = (
    MetricSpec(
        names=("samples.label_accuracy",),
        title="Samples of the requested label",
        unit="share of samples",
        direction="higher",
        section="samples",
        computed_by="vaelab.evaluation.label_samples.label_sample_metrics",
        what="Share of samples of given labels that the classifier reads as these labels.",
        good="Near the classifier's accuracy on test images.",
        caveat="More guidance raises it, and lowers the diversity.",
        thresholds=Thresholds(0.95, 0.8, "share of samples"),
        interpretation={
            "good": "Classified as the requested label: {value:.1%} of the samples.",
            "fair": "Classified as the requested label: {value:.1%} of the samples. Some are of "
            "another.",
            "poor": "Classified as the requested label: only {value:.1%} of the samples. Labels "
            "decide little.",
        },
    ),
    MetricSpec(
        names=("samples.label_diversity",),
        title="Diversity within a label",
        unit="times that of test images",
        direction="neither",
        section="samples",
        computed_by="vaelab.evaluation.label_samples.label_sample_metrics",
        what="Variance of the classifier's features within a label, averaged over labels, over "
        "that of test images.",
        good="Near 1; far below, samples of a label are all alike.",
        thresholds=Thresholds(0.6, 0.3, "times that of test images"),
        interpretation={
            "good": "Samples of a label vary {value:.2f} times as much as test images do.",
            "fair": "Samples of a label vary {value:.2f} times as much as test images do: they are "
            "typical, and alike.",
            "poor": "Samples of a label vary only {value:.2f} times as much as test images do.",
        },
    ),
)

# Why there is a sampler comes first, its likelihood last.
GAIN, *REST = LIKELIHOOD

# The metrics of samples from the prior, of which the group `sampler` has the same.
_SHARED = tuple(
    spec
    for spec in (*samples.METRICS, *LABELS)
    if spec.names[0] not in ("samples.count", "samples.classifier_test_accuracy")
)


def of_sampler(name: str) -> str:
    """Return the name of the same quantity of the sampler; "" for a name of another group."""
    group, _, key = name.partition(".")
    return f"sampler.{key}" if group == "samples" else ""


SAME_AS_OF_THE_PRIOR = tuple(
    replace(spec, names=tuple(map(of_sampler, spec.names)), references=(), reference_of="")
    for spec in _SHARED
)
"""The sampler's specs that have a counterpart for the prior; a table shows both in one row."""
