"""The group `annealing`: the log-likelihood between two bounds, with or without an encoder."""

from vaelab.metrics.spec import NATS, Metric

GROSSE = "Grosse et al. 2015, arXiv:1511.02543; Wu et al. 2017, arXiv:1611.04273"
NEAL = "Neal 2001, arXiv:physics/9803008; Wu et al. 2017, arXiv:1611.04273"

METRICS = (
    Metric(
        group="annealing",
        name="nll_nats",
        error="nll_standard_error_nats",
        title="Annealed negative log-likelihood",
        unit=NATS,
        direction="lower",
        what="−ln p(x) of test images by annealed importance sampling, which walks from an easy "
        "distribution of latents to the true posterior.",
        good="Lower. It needs no encoder, so it scores generators too.",
        caveat="An upper bound in expectation, on few images: its standard error is that of those "
        "images. Do not compare it with a number of other images.",
        source=NEAL,
    ),
    Metric(
        group="annealing",
        name="gap_nats",
        title="Gap between the two bounds",
        unit=NATS,
        direction="lower",
        what="Upper less lower bound on the negative log-likelihood of images that the model drew.",
        good="Near 0: the annealing has converged, and its numbers can be quoted.",
        caveat="Known for the model's own images only; that it holds for real ones is assumed. A "
        "noisy gap may fall below 0 by chance.",
        source=GROSSE,
    ),
    Metric(
        group="annealing",
        name="simulated_nll_upper_nats",
        title="Upper bound, simulated images",
        unit=NATS,
        direction="neither",
        what="Forward annealing, from an easy distribution to the posterior, of images that the "
        "model drew.",
        good="Near the other bound.",
        caveat="An upper bound in expectation.",
        source=GROSSE,
    ),
    Metric(
        group="annealing",
        name="simulated_nll_lower_nats",
        title="Lower bound, simulated images",
        unit=NATS,
        direction="neither",
        what="Annealing in reverse, from the very latent that an image was drawn from.",
        good="Near the other bound.",
        caveat="A lower bound in expectation.",
        source=GROSSE,
    ),
    Metric(
        group="annealing",
        name="simulated_importance_weighted_nll_nats",
        title="Importance-weighted bound, simulated images",
        unit=NATS,
        direction="neither",
        what="The negative log-likelihood of the simulated images as the test split has it: K "
        "samples of the encoder's posterior.",
        good="Near both annealed bounds.",
        caveat="An upper bound in expectation.",
        source="Burda et al. 2016, equation 8, arXiv:1509.00519",
    ),
    Metric(
        group="annealing",
        name="importance_weighted_excess_nats",
        title="Excess of the importance-weighted bound",
        unit=NATS,
        direction="lower",
        what="By how much at most the importance-weighted bound exceeds the truth: its value less "
        "the lower bound.",
        good="Near 0: the log-likelihood of the test split can be quoted as it is.",
        caveat="The gap is part of it, so it is meaningful only where the gap is small.",
        source="Wu et al. 2017, arXiv:1611.04273",
    ),
    Metric(
        group="annealing",
        name="observation_variance",
        title="Observation variance",
        unit="squared pixel values, of [0, 1]",
        direction="neither",
        what="The variance of the Gaussian noise that a generator without a likelihood bound "
        "is given, at which training images are likeliest.",
        good="Small: the generator comes near training images.",
        caveat="Another variance is another likelihood.",
        source="Wu et al. 2017, arXiv:1611.04273",
    ),
    Metric(
        group="annealing",
        name="temperatures",
        title="Temperatures",
        unit="steps",
        direction="neither",
        what="How many steps the walk from the easy distribution to the posterior has.",
        good="As many as make the gap small.",
        caveat="",
        source=NEAL,
    ),
    Metric(
        group="annealing",
        name="chains",
        title="Chains",
        unit="per image",
        direction="neither",
        what="How many independent walks are averaged for each image.",
        good="More make both bounds tighter, slowly.",
        caveat="",
        source=NEAL,
    ),
    Metric(
        group="annealing",
        name="simulated_images",
        title="Simulated images",
        unit="images",
        direction="neither",
        what="How many images the model drew to be measured between the bounds.",
        good="",
        caveat="",
        source=GROSSE,
    ),
    Metric(
        group="annealing",
        name="test_images",
        title="Annealed test images",
        unit="images",
        direction="neither",
        what="How many test images were annealed.",
        good="",
        caveat="",
        source=NEAL,
    ),
)
