"""The group `disentanglement`: known factors of variation, and the dimensions that hold them."""

from vaelab.metrics.spec import Metric

MODELS = (
    "Locatello et al. 2019 (arXiv:1811.12359) found that the seed matters more than the objective: "
    "compare means over seeds."
)

METRICS = (
    Metric(
        group="disentanglement",
        name="mutual_information_gap",
        title="Mutual information gap",
        unit="share of the factor's entropy",
        direction="higher",
        what="Mean over factors of the difference between the two dimensions that know most of "
        "that factor.",
        good="Near 1: one dimension knows each factor, and no second one does.",
        caveat="A factor that two dimensions share, as an angle is by sine and cosine, counts as "
        "entangled. The estimate depends on the bins.",
        source="Chen et al. 2018, equation 6, arXiv:1802.04942",
    ),
    Metric(
        group="disentanglement",
        name="dci_disentanglement",
        title="Disentanglement (DCI)",
        unit="share",
        direction="higher",
        what="Whether each dimension is important for one factor only.",
        good="Near 1: a dimension means one thing.",
        caveat=MODELS,
        source="Eastwood & Williams 2018, International Conference on Learning Representations",
    ),
    Metric(
        group="disentanglement",
        name="dci_completeness",
        title="Completeness (DCI)",
        unit="share",
        direction="higher",
        what="Whether each factor is read from one dimension only.",
        good="Near 1: a factor lies in one place.",
        caveat=MODELS,
        source="Eastwood & Williams 2018, International Conference on Learning Representations",
    ),
    Metric(
        group="disentanglement",
        name="dci_informativeness",
        reference="dci_informativeness_chance",
        title="Informativeness (DCI)",
        unit="accuracy",
        direction="higher",
        what="How well the factors can be predicted from the latents at all, on test images.",
        good="Near 1. Where it is no better than chance, the other two scores mean little.",
        caveat="It depends on the predictor as much as on the latents. Chance is the mean over "
        "factors of their commonest value's share.",
        source="Eastwood & Williams 2018, International Conference on Learning Representations",
    ),
    Metric(
        group="disentanglement",
        name="sap_score",
        title="Separated attribute predictability",
        unit="share",
        direction="higher",
        what="Mean over factors of the difference between the two single dimensions that predict "
        "that factor best.",
        good="Higher; published models of dSprites stay near 0.1.",
        caveat="Linear predictors: what a dimension holds in a curve is missed.",
        source="Kumar et al. 2018, section 3, arXiv:1711.00848",
    ),
    Metric(
        group="disentanglement",
        name="factor_vae_score",
        title="FactorVAE score",
        unit="accuracy",
        direction="higher",
        what="How often the dimension that varies least among images with one factor held fixed "
        "tells which factor that is.",
        good="Near 1. Chance is one over the number of factors.",
        caveat="It can be 1 although a dimension holds several factors, as long as their least "
        "varying dimensions differ.",
        source="Kim & Mnih 2018, section 4, arXiv:1802.05983",
    ),
)
