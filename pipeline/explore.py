"""Write one HTML page with the trained model inside, to explore in a browser without a network."""

from typing import Any

import numpy as np

from pipeline import cli, paths
from pipeline.artifacts import TrainedArtifacts
from pipeline.tracking.mirror import open_mirror
from vaelab.config import Settings
from vaelab.explorer import ExplorerContent, ShownImages, build_page
from vaelab.models.weights import weights_sha256
from vaelab.runtime.files import write_text
from vaelab.runtime.formatting import format_number
from vaelab.runtime.random_streams import rng_stream
from vaelab.runtime.serialization import read_arrays, read_metrics, read_table
from vaelab.samplers import load_sampler

DRAWS = 400


def main() -> None:
    """Run the stage."""
    cli.run(work, __doc__)


def work(settings: Settings) -> None:
    """Write the page, and log it to the model's run. Raises UserError."""
    mirror = open_mirror("explore", settings)
    trained = TrainedArtifacts.load(settings.machine)
    page = build_page(trained.model, content(trained))
    write_text(paths.EXPLORER, page)
    mirror.log()
    print(f"wrote {paths.EXPLORER} ({len(page) / 1e6:.1f} MB): open it in a browser")


def content(trained: TrainedArtifacts) -> ExplorerContent:
    """Collect what the page shows from the files of the earlier stages."""
    info, model, description = trained.data.info, trained.model, trained.description
    return ExplorerContent(
        title=f"{description.objective} on {info.name}",
        facts=facts(trained),
        dimensions=dimensions(model.latent_dim),
        test=shown_images(trained) if model.has("encoder") else None,
        class_names=info.class_names,
        resize=str(description.settings.get("data.resize", "crop")),
        **sampler_draws(trained),
    )


def sampler_draws(trained: TrainedArtifacts) -> dict[str, Any]:
    """Return latents of the sampler, if one was fitted, with their labels if the model sees any."""
    sampler = load_sampler(paths.SAMPLER, trained.device, weights_sha256(paths.MODEL))
    if sampler is None:
        return {}
    noise = rng_stream(0, "explorer", trained.device)
    labels = trained.model.with_sampled_labels(DRAWS, noise).labels
    draws = sampler.sample(DRAWS, noise, labels).cpu().numpy()
    known = None if labels is None else labels.cpu().numpy()
    return {
        "sampler_draws": draws,
        "sampler_labels": known,
        "sampler_title": sampler.title,
    }


def facts(trained: TrainedArtifacts) -> str:
    """Return the size of the latent and the headline numbers in one line."""
    test = read_metrics(paths.EVALUATE_METRICS).get("test", {})
    parts = [f"{trained.model.latent_dim} latent dimensions"]
    for name, text in (("neg_elbo_nats", "negative ELBO"), ("kl_loss_nats", "KL loss")):
        if name in test:
            parts.append(f"{text} {format_number(float(test[name]), 4)} nats")
    return " · ".join(parts) + (" on the test split" if len(parts) > 1 else "")


def dimensions(latent_dim: int) -> list[dict[str, float | bool | None]]:
    """Return mean, spread, KL loss and activity of each latent dimension, as measured."""
    table = read_table(paths.LATENT_DIMENSIONS, "aggregate_mean", "aggregate_stddev")
    if not table:
        return [{"mean": 0.0, "stddev": 1.0, "kl": None} for _ in range(latent_dim)]
    kl = table.get("kl_nats", np.full(latent_dim, np.nan))
    active = table.get("active", np.ones(latent_dim))
    return [
        {
            "mean": float(table["aggregate_mean"][i]),
            "stddev": float(table["aggregate_stddev"][i]),
            "kl": None if np.isnan(kl[i]) else float(kl[i]),
            "active": bool(active[i]),
        }
        for i in range(latent_dim)
    ]


def shown_images(trained: TrainedArtifacts) -> ShownImages:
    """Return the test images with the posteriors that the evaluate stage wrote."""
    latents, data = read_arrays(paths.TEST_LATENTS), trained.data
    factors, names = data.factors("test"), data.info.factor_names or ()
    attributes = {
        name: column == 1
        for name, column in zip(names, () if factors is None else factors.T, strict=False)
        if set(np.unique(column)) == {0, 1}
    }
    labels = data.labels("test")
    return ShownImages(data.images("test"), latents["mean"], latents["stddev"], labels, attributes)


if __name__ == "__main__":
    main()
