"""Fit a density to the trained model's latents, from which better images are sampled."""

from pipeline import cli, paths
from pipeline.artifacts import TrainedArtifacts
from pipeline.tracking.mirror import open_mirror
from vaelab.config import NO_SAMPLER, Settings
from vaelab.models.weights import weights_sha256
from vaelab.runtime.devices import describe
from vaelab.samplers import (
    SamplerDescription,
    conditional_sampler,
    encode_posteriors,
    fit_sampler,
    save_sampler,
)


def main() -> None:
    """Run the stage."""
    cli.run(work, __doc__)


def work(settings: Settings) -> None:
    """Fit and save the sampler that `sampler.name` names. Raises UserError."""
    mirror = open_mirror("sampler", settings)
    trained = TrainedArtifacts.load(settings.machine)
    description = SamplerDescription(name=NO_SAMPLER, model_sha256=weights_sha256(paths.MODEL))
    if sampler_name(trained, settings) == NO_SAMPLER:
        save_sampler(paths.SAMPLER, None, description)
        print("no sampler is fitted: latents are sampled from the model's prior")
    else:
        print(f"fitting a sampler on {describe(trained.device)}", flush=True)
        save_fitted(trained, settings, description)
    mirror.log()


def sampler_name(trained: TrainedArtifacts, settings: Settings) -> str:
    """Return the name of the sampler that is fitted, or `prior`. Raises UserError."""
    model, name = trained.model, settings.sampler.name
    if not model.has("encoder"):
        return NO_SAMPLER
    images = len(trained.data.images("train"))
    return conditional_sampler(name, images, model.latent_dim) if model.classes else name


def save_fitted(
    trained: TrainedArtifacts, settings: Settings, description: SamplerDescription
) -> None:
    """Fit the sampler to the training split's latents, save it, and print its title."""
    labels = trained.data.labels("train")
    posteriors = encode_posteriors(trained.model, trained.batches("train"), labels)
    fitted = fit_sampler(settings.sampler, settings.samplers, posteriors)
    changes = {
        "name": fitted.name,
        "latent_dim": trained.model.latent_dim,
        "classes": posteriors.classes,
        "images": len(posteriors),
        "settings": fitted.settings,
        "fit": fitted.facts,
    }
    save_sampler(paths.SAMPLER, fitted.sampler, description.model_copy(update=changes))
    facts = "".join(f", {name} {value:.4g}" for name, value in fitted.facts.items())
    print(f"fitted {fitted.sampler.title} to the latents of {len(posteriors)} images{facts}")


if __name__ == "__main__":
    main()
