"""The group `disentanglement`: how latent dimensions represent known factors of variation."""

from vaelab.metrics.spec import MetricSpec, Thresholds
from vaelab.metrics.structure import ABOVE_CHANCE

EASTWOOD = "Eastwood & Williams 2018, International Conference on Learning Representations"
LOCATELLO = (
    "Locatello et al. 2019 (arXiv:1811.12359) found that the seed matters more than the objective: "
    "compare means over seeds."
)
FORESTS = (
    "Importances are those of extremely randomized trees on test images; papers use lasso, random "
    "forests or gradient boosted trees on training images: their values are not comparable. "
)

# Few trained models of dSprites leave the middle of these ranges: Locatello et al. 2019.
METRICS = (
    MetricSpec(
        names=("disentanglement.mutual_information_gap",),
        title="Mutual information gap",
        unit="share of the factor's entropy",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.disentanglement.mig.mutual_information_gap",
        what="Difference in mutual information with a factor between the two dimensions that have "
        "most of it, averaged over factors.",
        good="Near 1: each factor is represented by exactly one dimension.",
        caveat="A factor that two dimensions share, such as an angle represented by sine and "
        "cosine, counts as entangled. The estimate depends on the bins.",
        source="Chen et al. 2018, equation 6, arXiv:1802.04942",
        thresholds=Thresholds(0.4, 0.15, "1 is perfect"),
        interpretation={
            "good": "Each factor has its own dimension.",
            "fair": "Some factors share dimensions.",
            "poor": "Factors have no dimension of their own.",
        },
    ),
    MetricSpec(
        names=("disentanglement.dci_disentanglement",),
        title="Disentanglement (DCI)",
        unit="share",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.disentanglement.dci.disentanglement",
        what="Whether each dimension is important for a single factor only.",
        good="Near 1: each dimension represents a single factor.",
        caveat=FORESTS + LOCATELLO,
        source=EASTWOOD,
        thresholds=Thresholds(0.6, 0.3, "1 is perfect"),
        interpretation={
            "good": "Most dimensions represent a single factor.",
            "fair": "Most dimensions represent more than one factor.",
            "poor": "Most dimensions represent many factors.",
        },
    ),
    MetricSpec(
        names=("disentanglement.dci_completeness",),
        title="Completeness (DCI)",
        unit="share",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.disentanglement.dci.completeness",
        what="Whether each factor is predicted from a single dimension only.",
        good="Near 1: each factor is represented by a single dimension.",
        caveat=FORESTS + LOCATELLO,
        source=EASTWOOD,
        thresholds=Thresholds(0.6, 0.3, "1 is perfect"),
        interpretation={
            "good": "Most factors are represented by a single dimension.",
            "fair": "Most factors are represented by several dimensions.",
            "poor": "Most factors are spread over many dimensions.",
        },
    ),
    MetricSpec(
        names=("disentanglement.dci_informativeness",),
        references=("disentanglement.dci_informativeness_chance",),
        reference_of="chance",
        title="Informativeness (DCI)",
        unit="accuracy",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.disentanglement.dci.dci_importance",
        what="How accurately the factors of test images can be predicted from the latents.",
        good="Near 1. If it is no better than chance, the other two DCI scores mean little.",
        caveat="It depends on the predictor, here extremely randomized trees, as much as on the "
        "latents, so papers' values are not comparable. Chance is the mean over factors of the "
        "share of their most frequent value.",
        source=EASTWOOD,
        thresholds=ABOVE_CHANCE,
    ),
    MetricSpec(
        names=("disentanglement.sap_score",),
        title="Separated attribute predictability",
        unit="share",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.disentanglement.sap.sap_score",
        what="Difference in accuracy between the two single dimensions that predict a factor best, "
        "by a linear support vector machine, averaged over factors.",
        good="Higher; published models of dSprites stay near 0.1.",
        caveat="Perfect latents reach 0.25 on the factors of dSprites and 0.5 on binary "
        "attributes: from one dimension, few of many ordered values are predicted linearly. "
        + LOCATELLO,
        source="Kumar et al. 2018, section 3, arXiv:1711.00848; estimated as in "
        "Locatello et al. 2019, arXiv:1811.12359",
        thresholds=Thresholds(0.1, 0.03, "perfect latents of dSprites reach 0.25"),
        interpretation={
            "good": "Each factor is predicted best from a single dimension.",
            "fair": "The best dimension predicts a factor slightly better than the second best.",
            "poor": "Several dimensions predict a factor equally well.",
        },
    ),
    MetricSpec(
        names=("disentanglement.factor_vae_score",),
        title="FactorVAE score",
        unit="accuracy",
        direction="higher",
        section="structure",
        computed_by="vaelab.estimators.disentanglement.factor_vae.factor_vae_score",
        what="How often the dimension that varies least among images with one factor held fixed "
        "identifies that factor.",
        good="Near 1. Chance is 1 over the number of factors.",
        caveat="It can be 1 although a dimension represents several factors, if the dimensions "
        "that vary least differ between factors.",
        source="Kim & Mnih 2018, section 4, arXiv:1802.05983",
        thresholds=Thresholds(0.8, 0.6, "1 is perfect"),
    ),
)
