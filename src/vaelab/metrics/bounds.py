"""The group `test`: bounds and losses of the test images."""

from vaelab.metrics.spec import NATS, Metric

BURDA = "Burda et al. 2016, equation 8, arXiv:1509.00519"
KINGMA = "Kingma & Welling 2014, equation 3, arXiv:1312.6114"

METRICS = (
    Metric(
        group="test",
        name="nll_nats",
        error="nll_standard_error_nats",
        title="Negative log-likelihood",
        unit=NATS,
        direction="lower",
        what="How surprised the model is by a test image, −ln p(x), from K weighted samples of "
        "each image's posterior.",
        good="Lower. Between models of the same data and the same kind of likelihood, a difference "
        "of several standard errors counts.",
        caveat="An upper bound in expectation: too high for small K and for posteriors that fit "
        "badly. A density may exceed 1, so values below 0 are possible. Never compare it between "
        "likelihoods of other pixels (binary, grey, density).",
        source=BURDA,
    ),
    Metric(
        group="test",
        name="bits_per_dim",
        title="Bits per dimension",
        unit="bits per pixel and channel",
        direction="lower",
        what="The negative log-likelihood in bits for each number of an image: the length of a "
        "lossless code, where pixels have 8 bits and it is of their probabilities.",
        good="Lower. Pixels that nobody models take 8 bits.",
        caveat="From a density it counts only where the pixels were dequantised.",
        source="Theis et al. 2016, section 3.1, arXiv:1511.01844",
    ),
    Metric(
        group="test",
        name="neg_elbo_nats",
        error="neg_elbo_standard_error_nats",
        title="Negative evidence lower bound",
        unit=NATS,
        direction="lower",
        what="Generation loss plus KL loss at weight 1: an upper bound on −ln p(x).",
        good="Lower, and near the negative log-likelihood.",
        caveat="Looser than the log-likelihood by the KL divergence from the encoder's posterior "
        "to the true one.",
        source=KINGMA,
    ),
    Metric(
        group="test",
        name="generation_loss_nats",
        title="Generation loss",
        unit=NATS,
        direction="lower",
        what="What the decoder still has to explain once it has the latent: −ln p(x|z), the "
        "distortion.",
        good="Lower at the same KL loss.",
        caveat="By itself it is minimised by an autoencoder that stores the image.",
        source=KINGMA,
    ),
    Metric(
        group="test",
        name="kl_loss_nats",
        title="KL loss",
        unit=NATS,
        direction="neither",
        what="What the latents cost: KL(q(z|x) ‖ p(z)), the rate.",
        good="Neither: more lets the decoder know more of the image, less makes latents simpler.",
        caveat="Near 0 the decoder ignores its latents. Estimated from one draw where the prior is "
        "not N(0, I).",
        source=KINGMA,
    ),
    Metric(
        group="test",
        name="mean_squared_error",
        title="Squared error of reconstructions",
        unit="squared pixel values, of [0, 1]",
        direction="lower",
        what="Mean over pixels of the squared difference between an image and the mean that its "
        "drawn latent decodes to.",
        good="Lower.",
        caveat="It rewards blur: of several possible images their mean has the least error.",
        source="",
    ),
    Metric(
        group="test",
        name="nll_importance_samples",
        title="Importance samples K",
        unit="samples per image",
        direction="neither",
        what="How many latents of each image the log-likelihood is estimated from.",
        good="As many as make the change on doubling small; papers use 5,000.",
        caveat="Log-likelihoods of different K do not compare.",
        source=BURDA,
    ),
    Metric(
        group="test",
        name="nll_change_on_doubling_nats",
        title="Change on doubling K",
        unit=NATS,
        direction="higher",
        what="The negative log-likelihood from K samples less that from half as many.",
        good="Near 0, from below.",
        caveat="It halves with every doubling only once K is large; a small change at a small "
        "effective sample size proves little.",
        source=BURDA,
    ),
    Metric(
        group="test",
        name="nll_effective_sample_size",
        title="Effective sample size",
        unit="of K samples",
        direction="higher",
        what="How many equally weighted samples the K weighted ones are worth.",
        good="A large share of K: the encoder's posterior is near the true one.",
        caveat="From few samples it is too high: the heavy weights may not have been drawn.",
        source="Kong 1992, University of Chicago, technical report 348",
    ),
)
