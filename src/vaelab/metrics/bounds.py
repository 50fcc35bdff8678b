"""The group `test`: losses, bounds and likelihood of the test images."""

from vaelab.metrics.spec import NATS, MetricSpec, Thresholds

BURDA = "Burda et al. 2016, equation 8, arXiv:1509.00519"
KINGMA = "Kingma & Welling 2014, equation 3, arXiv:1312.6114"

METRICS = (
    MetricSpec(
        names=("test.nll_nats",),
        standard_error="test.nll_standard_error_nats",
        title="K-sample bound",
        unit=NATS,
        direction="lower",
        section="likelihood",
        computed_by="vaelab.estimators.importance.importance_weighted_log_likelihood",
        what="The importance-weighted bound on −ln p(x) of a test image, from K samples of the "
        "encoder's posterior, which papers call the negative log-likelihood; on −ln p(x|y), given "
        "its label y, of a model that sees labels.",
        good="Lower. Between models of the same data with the same kind of likelihood, a "
        "difference of several standard errors is meaningful.",
        caveat="An upper bound in expectation: too high for small K and for encoders that fit "
        "poorly, by tens of nats where the likelihood is precise. A density may exceed 1, so "
        "values below 0 are possible. Do not compare it between likelihoods of different kinds of "
        "pixels (binary, gray levels, densities).",
        source=BURDA,
    ),
    MetricSpec(
        names=("test.bits_per_dim",),
        title="Bits per dimension",
        unit="bits per pixel and channel",
        direction="lower",
        section="likelihood",
        computed_by="vaelab.estimators.importance.bits_per_dim",
        what="The K-sample bound in bits per pixel and channel. If pixels have 8 bits and "
        "the likelihood is a probability of their values, it is the length of a lossless code.",
        good="Lower. An uncompressed pixel takes 8 bits.",
        caveat="Computed from a density, it is meaningful only if the pixels were dequantized.",
        source="Theis et al. 2016, section 3.1, arXiv:1511.01844",
    ),
    MetricSpec(
        names=("test.neg_elbo_nats",),
        standard_error="test.neg_elbo_standard_error_nats",
        title="Negative evidence lower bound",
        unit=NATS,
        direction="lower",
        section="likelihood",
        computed_by="vaelab.evaluation.bounds.bound_metrics",
        what="Generation loss plus KL loss at weight 1: an upper bound on −ln p(x), or on "
        "−ln p(x|y) of a model that sees the label y.",
        good="Lower, and close to the negative log-likelihood.",
        caveat="It exceeds −ln p(x) by the KL divergence of the encoder's posterior from the true "
        "posterior.",
        source=KINGMA,
    ),
    MetricSpec(
        names=("test.generation_loss_nats",),
        title="Generation loss",
        unit=NATS,
        direction="lower",
        section="likelihood",
        computed_by="vaelab.evaluation.bounds.score_test_images",
        what="The reconstruction loss: −ln p(x|z) at a latent sampled from the posterior "
        "(distortion).",
        good="Lower at the same KL loss.",
        caveat="A model that minimizes it without a KL loss is an autoencoder, not a generator.",
        source=KINGMA,
    ),
    MetricSpec(
        names=("test.kl_loss_nats",),
        title="KL loss",
        unit=NATS,
        direction="neither",
        section="likelihood",
        computed_by="vaelab.models.model.Model.kl",
        what="KL(q(z|x) ‖ p(z)), the divergence of the posterior from the prior (rate).",
        good="Neither: a higher value gives the decoder more information about the image, a lower "
        "one gives latents closer to the prior.",
        caveat="Near 0 the decoder ignores the latent. Estimated from one sample if the prior is "
        "not N(0, I).",
        source=KINGMA,
        thresholds=Thresholds(
            1.0,
            0.1,
            "nats; near 0 the posterior has collapsed; poor if the mutual information is poor",
        ),
    ),
    MetricSpec(
        names=("test.mean_squared_error",),
        title="Squared error of reconstructions",
        unit="squared pixel values, of [0, 1]",
        direction="lower",
        section="likelihood",
        computed_by="vaelab.evaluation.bounds.score_test_images",
        what="Mean over pixels of the squared difference between an image and its reconstruction, "
        "the mean of p(x|z) at a latent sampled from the posterior.",
        good="Lower.",
        caveat="It favors blurred reconstructions: the mean of several plausible images has the "
        "lowest error.",
    ),
    MetricSpec(
        names=("test.psnr_db",),
        standard_error="test.psnr_standard_error_db",
        references=("test.psnr_db_mean_image",),
        reference_of="mean image",
        title="Peak signal-to-noise ratio",
        unit="decibels",
        direction="higher",
        section="likelihood",
        computed_by="vaelab.estimators.image_quality.psnr_db",
        what="10 log10(1 / mean squared error) of a test image with pixels from 0 to 1, "
        "reconstructed from its posterior mean; averaged over images. 10 dB more are a tenth of "
        "the squared error; an exact reconstruction counts as 100 dB.",
        good="Higher; 20 to 30 dB are usual for small images.",
        caveat="As the squared error, it favors blurred reconstructions.",
        source="Wang et al. 2004, IEEE Transactions on Image Processing 13",
        thresholds=Thresholds(3, 1, "decibels above those of the mean training image"),
    ),
    MetricSpec(
        names=("test.ssim",),
        standard_error="test.ssim_standard_error",
        title="Structural similarity",
        unit="",
        direction="higher",
        section="likelihood",
        computed_by="vaelab.estimators.image_quality.ssim",
        what="Whether brightness, contrast and pattern agree, window by window, between a test "
        "image and its reconstruction from the posterior mean; 1 for equal images, near 0 for "
        "unrelated ones.",
        good="Higher: it falls where edges and textures are blurred.",
        caveat="Windows are 11 x 11 Gaussian ones; in smaller images the largest that fit, so "
        "compare images of one size only.",
        source="Wang et al. 2004, equation 13, IEEE Transactions on Image Processing 13",
        thresholds=Thresholds(0.8, 0.5, "similarity"),
    ),
    MetricSpec(
        names=("test.nll_images",),
        title="Images of the K-sample bound",
        unit="test images",
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.bounds.bound_metrics",
        what="The number of test images whose K-sample bound was estimated, chosen by the seed.",
        good="All of them; with fewer the standard error is wider.",
        caveat="Of fewer than all images it is not comparable image by image with other runs.",
    ),
    MetricSpec(
        names=("test.nll_rounding_nats",),
        standard_error="test.nll_rounding_standard_error_nats",
        title="Rounding of the K-sample bound",
        unit=NATS,
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.decoding_precision.rounding_of_bound",
        what="By how much decoding in bfloat16 instead of float32 raises the bound: the mean over "
        "100 test images, with the same latents in both.",
        good="Near 0. It is done only where the change is below the bound's standard error.",
        caveat="Absent where the bound is decoded in float32.",
    ),
    MetricSpec(
        names=("test.nll_importance_samples",),
        title="Importance samples K",
        unit="samples per image",
        direction="neither",
        section="bound",
        computed_by="vaelab.evaluation.bounds.bound_metrics",
        what="The number of latents per image that the log-likelihood is estimated from.",
        good="Large enough that doubling K changes the result little; papers use 5,000.",
        caveat="Log-likelihoods with different K are not comparable.",
        source=BURDA,
    ),
    MetricSpec(
        names=("test.nll_change_on_doubling_nats",),
        title="Change on doubling K",
        unit=NATS,
        direction="higher",
        section="bound",
        computed_by="vaelab.evaluation.bounds.bound_metrics",
        what="The bound from K samples minus the one from K/2 samples.",
        good="Near 0, from below.",
        caveat="It halves with each doubling only once K is large. At a small effective sample "
        "size, a small change is weak evidence.",
        source=BURDA,
        # Papers print tenths of a nat; half a nat changes the order of published models.
        thresholds=Thresholds(
            0.1,
            0.5,
            "increase of the bound on doubling K, nats; at best fair up to K = 20, at a poor "
            "effective sample size, and if the excess found by annealing is not good",
        ),
    ),
    MetricSpec(
        names=("test.nll_effective_sample_size",),
        title="Effective sample size",
        unit="of K samples",
        direction="higher",
        section="bound",
        computed_by="vaelab.estimators.importance.importance_weighted_log_likelihood",
        what="The number of equally weighted samples that the K importance-weighted samples are "
        "equivalent to.",
        good="A large share of K: the encoder's posterior is close to the true posterior.",
        caveat="Too high for small K: the samples with the largest weights may not have been "
        "drawn.",
        source="Kong 1992, University of Chicago, technical report 348",
        thresholds=Thresholds(0.25, 0.05, "share of K, above K = 20"),
    ),
)
