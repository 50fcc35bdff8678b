"""How the latents of images with known factors divide these among their dimensions."""

from vaelab.config import EvaluateSettings
from vaelab.estimators import latent_statistics
from vaelab.estimators.disentanglement import DisentanglementReport, disentanglement_metrics
from vaelab.evaluation.training_latents import TrainingLatents
from vaelab.evaluation.types import EvaluationData, LatentPosteriors

# Images at most of which the factors are read: the protocol of Locatello et al. 2019.
MAX_TEST_IMAGES = 10_000


def factor_report(
    data: EvaluationData,
    training: TrainingLatents,
    codes: LatentPosteriors,
    settings: EvaluateSettings,
) -> DisentanglementReport | None:
    """Hold the posteriors' means against the factors; None where no factors are known."""
    if data.train_factors is None or data.test_factors is None:
        return None
    rows = latent_statistics.sample_rows(
        len(codes.means), MAX_TEST_IMAGES, settings.seed, "factors"
    ).numpy()
    known = data.train_factors[training.rows], data.test_factors[rows]
    return disentanglement_metrics(
        training.means, known[0], codes.means[rows], known[1], settings.seed
    )
